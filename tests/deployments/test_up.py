"""What `aletheia up` starts, and what it saves about it."""

from collections.abc import Awaitable
from typing import cast

import pytest

from blocks import PayloadCredentials
from deployments.local import Local


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
