"""The check of the clocks of all machines that poll."""

from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Change, Update
from aletheia.intake.rows import FLAGS
from aletheia.store.clock import SYSTEM_CLOCK
from deployments.doctor import services
from deployments.doctor.results import run_check
from tasks.session import current_session

DAY = 86_400


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedDocuments:
    store = EmbeddedDocuments(tmp_path)

    async def get_store() -> EmbeddedDocuments:
        return await current_session().clients.open(store)

    monkeypatch.setattr(services, "get_store", get_store)
    return store


async def note(store: EmbeddedDocuments, age_s: float) -> None:
    values = {"owner": "host/7/run", "ahead_s": 3600.0, "seen_at": SYSTEM_CLOCK.unix_s() - age_s}
    await store.open()
    await store.upsert(FLAGS, [Update("clocks", Change(set=values))])
    await store.close()


async def test_a_clock_that_was_ahead_is_named_for_a_day(store: EmbeddedDocuments):
    assert "no poller's clock" in (await run_check("x", services.check_clocks)).found
    await note(store, 60)
    result = await run_check("x", services.check_clocks)
    assert result.state == "warning"
    assert "'host/7/run' was 3600 s ahead" in result.found
    await note(store, DAY + 60)
    assert "no poller's clock" in (await run_check("x", services.check_clocks)).found
