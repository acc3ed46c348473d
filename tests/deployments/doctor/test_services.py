"""The check of the clocks of all machines that poll."""

from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Change, Update
from aletheia.intake.rows import FLAGS
from aletheia.store.clock import SYSTEM_CLOCK
from blocks import StoreCredentials
from deployments.doctor import services
from deployments.doctor.results import CheckFailed

DAY = 86_400


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedDocuments:
    async def load_block(_: type[StoreCredentials]) -> StoreCredentials:
        return StoreCredentials(data_dir=tmp_path)

    monkeypatch.setattr(services, "load_block", load_block)
    return EmbeddedDocuments(tmp_path)


async def note(store: EmbeddedDocuments, age_s: float) -> None:
    values = {"owner": "host/7/run", "ahead_s": 3600.0, "seen_at": SYSTEM_CLOCK.unix_s() - age_s}
    await store.open()
    await store.upsert(FLAGS, [Update("clocks", Change(set=values))])
    await store.close()


async def test_a_clock_that_was_ahead_is_named_for_a_day(store: EmbeddedDocuments):
    assert "no poller's clock" in await services.check_clocks()
    await note(store, 60)
    with pytest.raises(CheckFailed, match="'host/7/run' was 3600 s ahead"):
        await services.check_clocks()
    await note(store, DAY + 60)
    assert "no poller's clock" in await services.check_clocks()
