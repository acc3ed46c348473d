"""Processes killed at every step of holding, appending and serving, and others that go on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.store.cursor import Cursors
from tests.aletheia.store.processes import (
    CURSORS,
    DEAD_LETTERS,
    DONE,
    ENTRIES,
    LEASE_S,
    LEASED,
    PATIENCE,
    REFUSED,
    append_all,
    numbered,
)
from tests.crash.harness import Ending, Forks, forking


@pytest.fixture
async def forks() -> AsyncGenerator[Forks]:
    async with forking("tests.aletheia.store.processes") as forks:
        yield forks


async def work(forks: Forks, directory: Path, what: str, kill_at: int = 0) -> Ending:
    return await forks.work(kill_at, directory=str(directory), work=what)


@asynccontextmanager
async def opened(directory: Path) -> AsyncGenerator[EmbeddedDocuments]:
    store = EmbeddedDocuments(directory)
    await store.open()
    yield store
    await store.close()


@pytest.mark.timeout(300)
async def test_a_holder_killed_at_any_step_is_overtaken_after_its_lease(
    forks: Forks, tmp_path: Path
):
    async with opened(tmp_path / "whole") as store:
        await store.insert(LEASED, [{"_id": "counter"}])
    whole = await work(forks, tmp_path / "whole", "count")
    assert whole.steps >= 10, "read, take, write twice, release"
    for kill_at in range(1, whole.steps + 1):
        directory, where = tmp_path / str(kill_at), f"killed at step {kill_at}"
        async with opened(directory) as store:
            await store.insert(LEASED, [{"_id": "counter"}])
        assert (await work(forks, directory, "count", kill_at)).was_killed, where
        await asyncio.sleep(LEASE_S + 0.01)
        assert (await work(forks, directory, "count")).is_done, where
        async with opened(directory) as store:
            (thing,) = await store.find(LEASED, {})
            done = {int(document["_id"]) for document in await store.find(DONE, {})}
        assert (thing["holder"], thing["lease_until"]) == ("", 0), where
        assert thing["last"] == thing["token"] == max(done), where
        assert done <= {1, 2}, where


@pytest.mark.timeout(300)
async def test_a_writer_killed_at_any_step_leaves_no_gap_and_a_second_pass_repeats_nothing(
    forks: Forks, tmp_path: Path
):
    whole = await work(forks, tmp_path / "whole", "append")
    assert whole.steps >= 4 * ENTRIES, "a read and an insert for each entry"
    for kill_at in range(1, whole.steps + 1):
        directory, where = tmp_path / str(kill_at), f"killed at step {kill_at}"
        assert (await forks.work(kill_at, directory=str(directory), work="append")).was_killed, (
            where
        )
        assert (await work(forks, directory, "append")).is_done, where
        async with opened(directory) as store:
            entries = await numbered(store).read("p1")
        assert [entry["seq"] for entry in entries] == list(range(1, ENTRIES + 1)), where
        assert [entry["key"] for entry in entries] == [
            f"key {number}" for number in range(1, ENTRIES + 1)
        ], where


@pytest.mark.timeout(300)
async def test_a_server_killed_at_any_step_leaves_nothing_out_and_repeats_at_most_one(
    forks: Forks, tmp_path: Path
):
    async def begin(directory: Path) -> None:
        async with opened(directory) as store:
            await append_all(store)
            fresh = Cursors(store, CURSORS, PATIENCE).fresh
            await store.insert(CURSORS, [{"_id": "p1", **fresh, "sent": 0}])

    await begin(tmp_path / "whole")
    whole = await work(forks, tmp_path / "whole", "serve")
    assert whole.steps >= 4 * ENTRIES, "an effect and a move for each entry"
    for kill_at in range(1, whole.steps + 1):
        directory, where = tmp_path / str(kill_at), f"killed at step {kill_at}"
        await begin(directory)
        assert (await work(forks, directory, "serve", kill_at)).was_killed, where
        await asyncio.sleep(LEASE_S + 0.01)
        assert (await work(forks, directory, "serve")).is_done, where
        async with opened(directory) as store:
            (cursor,) = await store.find(CURSORS, {})
            dead_letters = await store.find(DEAD_LETTERS, {})
            done = {document["_id"]: document["times"] for document in await store.find(DONE, {})}
        assert (cursor["sent"], cursor["holder"]) == (ENTRIES, ""), where
        assert [dead_letter["_id"] for dead_letter in dead_letters] == [f"p1:{REFUSED:016}"], where
        assert sorted(done) == [
            f"p1:{number:016}" for number in range(1, ENTRIES + 1) if number != REFUSED
        ], where
        assert sum(done.values()) <= len(done) + 1, where
