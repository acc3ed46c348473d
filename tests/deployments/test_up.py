"""What `aletheia up` starts, and what it saves about it."""

from collections.abc import Awaitable
from typing import cast

import pytest

from blocks import PayloadCredentials
from deployments.declarations import read_declarations
from deployments.local import Local
from deployments.up import FIRST_SHIFTS


def test_whatever_has_shifts_by_schedule_is_started_and_paused_with_the_others():
    # The demo pauses them: a shift by schedule would keep the one slot for which its own waits.
    with_shifts = {
        declared.full_name
        for declared in read_declarations().deployments
        if declared.schedules and "shift_seconds" in declared.parameters
    }
    assert with_shifts == set(FIRST_SHIFTS)


@pytest.mark.timeout(300)
async def test_departments_come_from_the_example_where_nothing_else_is_configured(
    everything: Local, server: str
):
    del server
    payload = everything.running("payload")
    assert payload is not None
    block = await cast("Awaitable[PayloadCredentials]", PayloadCredentials.aload("default"))
    assert block.base_url == payload.url
    assert block.api_key is None
    source = block.get_client()
    await source.open()
    listed = await source.list_departments()
    await source.close()
    assert len(listed.departments) >= 4
    assert len(listed.faults) == 1
