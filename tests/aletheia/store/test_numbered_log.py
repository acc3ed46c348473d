"""The numbered log, on every backend of the store."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Document, Documents
from aletheia.errors import Unavailable
from aletheia.store import numbered_log
from aletheia.store.numbered_log import NumberedLog
from tests.aletheia.resilience.contenders import compete
from tests.aletheia.store.processes import (
    LOG,
    PURGED,
    append_with_others,
    entry,
    numbered,
)
from tests.fakes.clock import MovableClock
from tests.fakes.documents import LosableDocuments


@pytest.fixture
async def log(documents: Documents, clock: MovableClock) -> NumberedLog:
    log = NumberedLog(documents, LOG, purged=PURGED, clock=clock.both)
    await log.prepare()
    return log


async def append(log: NumberedLog, first: int, last: int, stream: str = "p1") -> None:
    for number in range(first, last + 1):
        await log.append(stream, f"key {number}", lambda seq, _: entry(seq))


def numbers(entries: list[Document]) -> list[int]:
    return [found["seq"] for found in entries]


async def test_entries_are_numbered_from_1_in_each_stream(log: NumberedLog, clock: MovableClock):
    assert await log.end("p1") == 0
    assert await log.read("p1") == []
    await append(log, 1, 3)
    await append(log, 1, 1, "p2")
    assert numbers(await log.read("p1")) == [1, 2, 3]
    assert numbers(await log.read("p2")) == [1]
    assert await log.end("p1") == 3
    (_, second, _) = await log.read("p1")
    assert second == {
        "_id": "p1:0000000000000002",
        "project": "p1",
        "seq": 2,
        "at": clock.both.now(),
        "key": "key 2",
        "is_about": "entry 2",
    }


async def test_an_entry_whose_key_is_there_stays_as_it_is(log: NumberedLog, clock: MovableClock):
    first = await log.append("p1", "key", lambda _seq, _at: {"is_about": "before"})
    clock.move(seconds=1)
    again = await log.append("p1", "key", lambda _seq, _at: {"is_about": "after"})
    assert again == first
    assert await log.end("p1") == 1


async def test_what_an_entry_says_may_hold_its_number_and_its_time(
    log: NumberedLog, clock: MovableClock
):
    built = await log.append("p1", "key", lambda seq, at: {"body": f"{seq} at {at}"})
    assert built["body"] == f"1 at {clock.both.now()}"


async def test_pages_follow_each_other(log: NumberedLog):
    await append(log, 1, 5)
    assert numbers(await log.read("p1", after=0, limit=2)) == [1, 2]
    assert numbers(await log.read("p1", after=2, limit=2)) == [3, 4]
    assert numbers(await log.read("p1", after=4, limit=2)) == [5]
    assert await log.read("p1", after=5) == []


async def test_writers_at_once_leave_no_gap_and_repeat_no_key(documents: Documents):
    logs = [numbered(documents) for _ in range(6)]
    await asyncio.gather(*(append(log, 1, 10) for log in logs))
    entries = await logs[0].read("p1")
    assert numbers(entries) == list(range(1, 11))
    assert len({found["key"] for found in entries}) == 10


async def test_processes_at_once_leave_no_gap_and_repeat_no_key(tmp_path: Path):
    store = EmbeddedDocuments(tmp_path)
    await store.open()
    given = await asyncio.to_thread(compete, tmp_path, append_with_others, 20, processes=3)
    entries = await numbered(store).read("p1")
    assert numbers(entries) == list(range(1, 4 * 20 + 1))
    assert len({found["key"] for found in entries}) == 80
    assert len({tuple(of_one[::2]) for of_one in given}) == 1, "common entries have one number"
    await store.close()


async def test_an_entry_whose_answer_was_lost_is_there_once(losable: LosableDocuments):
    log = numbered(losable)
    await append(log, 1, 1)
    losable.loses_answers = True
    with pytest.raises(Unavailable):
        await append(log, 2, 2)
    losable.loses_answers = False
    await append(log, 2, 3)
    assert [found["key"] for found in await log.read("p1")] == ["key 1", "key 2", "key 3"]


async def test_a_reader_never_sees_an_entry_before_the_one_it_follows(documents: Documents):
    await append(numbered(documents), 1, 2)
    await documents.insert(LOG, [{"_id": "p1:0000000000000004", "project": "p1", "seq": 4}])
    assert numbers(await numbered(documents).read("p1")) == [1, 2]
    assert await numbered(documents).read("p1", after=2) == []


async def test_old_entries_are_deleted_from_the_first_on_and_the_last_one_stays(
    log: NumberedLog, clock: MovableClock
):
    await append(log, 1, 3)
    await append(log, 1, 1, "p2")
    clock.move(days=2)
    await append(log, 4, 4)
    assert await log.purge(3 * 86_400) == 0
    assert await log.purge(86_400) == 3
    assert numbers(await log.read("p1")) == [4]
    assert numbers(await log.read("p2")) == [1]
    clock.move(days=2)
    assert await log.purge(86_400) == 0
    await append(log, 5, 5)
    assert numbers(await log.read("p1", after=3)) == [4, 5]


async def test_an_entry_of_a_clock_that_was_behind_keeps_none_before_it_and_none_after(
    documents: Documents, clock: MovableClock
):
    await append(NumberedLog(documents, LOG, purged=PURGED, clock=clock.both), 1, 2)
    behind = NumberedLog(documents, LOG, purged=PURGED, clock=clock.off_by(days=-30))
    await append(behind, 3, 3)
    now = NumberedLog(documents, LOG, purged=PURGED, clock=clock.both)
    await append(now, 4, 4)
    assert await now.purge(86_400) == 0
    assert numbers(await now.read("p1")) == [1, 2, 3, 4]


async def test_no_more_is_deleted_at_once_than_may_be(
    log: NumberedLog, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(numbered_log, "MAX_PURGED", 2)
    await append(log, 1, 4)
    clock.move(days=2)
    await append(log, 5, 5)
    assert [await log.purge(86_400) for _ in range(3)] == [2, 2, 0]


async def test_a_follower_gets_what_is_there_and_what_is_added(log: NumberedLog):
    await append(log, 1, 3)
    async with contextlib.aclosing(log.follow("p1", after=1, interval_s=0.001)) as following:
        assert (await anext(following))["seq"] == 2
        assert (await anext(following))["seq"] == 3
        await append(log, 4, 4)
        assert (await asyncio.wait_for(anext(following), 10))["seq"] == 4


async def test_a_follower_waits_while_the_store_is_away(
    losable: LosableDocuments, caplog: pytest.LogCaptureFixture
):
    log = numbered(losable)
    await append(log, 1, 1)
    losable.is_lost = True
    following: AsyncGenerator[Document] = log.follow("p1", interval_s=0.001)
    waiting = asyncio.ensure_future(anext(following))
    while "cannot be followed" not in caplog.text:
        await asyncio.sleep(0.001)
    losable.is_lost = False
    assert (await asyncio.wait_for(waiting, 10))["seq"] == 1
    await following.aclose()
