"""Cursors and dead letters, on every backend of the store."""

import asyncio
from typing import Any

import pytest

from aletheia.documents import Document, Documents
from aletheia.errors import Unavailable
from aletheia.store.clock import Clock, microseconds_of
from aletheia.store.cursor import CursorPace, Cursors, DeadLetters, Trouble, Turn
from tests.aletheia.store.processes import CURSORS, DEAD_LETTERS
from tests.fakes.clock import MovableClock
from tests.fakes.documents import LosableDocuments


def cursors_of(documents: Documents, clock: Clock) -> Cursors:
    """Cursors whose pauses are 1 s, 2 s and so on."""
    return Cursors(documents, CURSORS, CursorPace(), clock=clock, draw=lambda: 1.0)


@pytest.fixture
async def cursors(documents: Documents, clock: MovableClock) -> Cursors:
    cursors = cursors_of(documents, clock.both)
    await documents.insert(CURSORS, [{"_id": "a", **cursors.fresh, "sent": 0}])
    return cursors


async def read(documents: Documents) -> Document:
    return (await documents.get(CURSORS, ["a"]))["a"]


async def take(cursors: Cursors, documents: Documents, **how: Any) -> Turn:
    turn = await cursors.take(await read(documents), **how)
    assert turn is not None
    return turn


async def test_of_many_at_once_one_takes_a_cursor(cursors: Cursors, documents: Documents):
    seen = await read(documents)
    turns = await asyncio.gather(*(cursors.take(seen) for _ in range(8)))
    assert sum(turn is not None for turn in turns) == 1
    assert not cursors.can_take(await read(documents))


async def test_a_step_moves_it_and_begins_the_lease_anew(
    cursors: Cursors, documents: Documents, clock: MovableClock
):
    turn = await take(cursors, documents)
    clock.move(seconds=40)
    assert await turn.advance({"sent": 1})
    clock.move(seconds=40)
    assert not cursors.can_take(await read(documents))
    assert await turn.lease.release()
    assert cursors.can_take(await read(documents))
    assert (await read(documents))["sent"] == 1


async def test_whoever_was_overtaken_moves_nothing(
    cursors: Cursors, documents: Documents, clock: MovableClock
):
    dead = await take(cursors, documents)
    clock.move(seconds=65)
    turn = await take(cursors, documents)
    assert not await dead.advance({"sent": 7})
    await dead.wait("too late", {"sent": 7})
    assert not await dead.lease.release({"sent": 7})
    assert (await read(documents))["sent"] == 0
    assert cursors.trouble_of(await read(documents)).failures == 0
    assert await turn.advance({"sent": 1})


async def test_failures_in_a_row_make_it_wait_longer_and_a_step_ends_them(
    cursors: Cursors, documents: Documents, clock: MovableClock
):
    began = clock.now
    for failures, pause_s in ((1, 1), (2, 2), (3, 4)):
        turn = await take(cursors, documents)
        assert turn.has_failed == (failures > 1)
        assert await turn.wait(f"failure {failures}") == (failures, pause_s)
        await turn.lease.release()
        assert (await read(documents))["failing_since"] == microseconds_of(began)
        trouble = cursors.trouble_of(await read(documents))
        assert (trouble.failures, trouble.reason) == (failures, f"failure {failures}")
        assert trouble.next_try_at is not None
        assert (trouble.next_try_at - clock.now).total_seconds() == pause_s
        assert not cursors.can_take(await read(documents))
        clock.move(seconds=pause_s)
    turn = await take(cursors, documents)
    assert await turn.advance({"sent": 1})
    assert not turn.has_failed
    assert (await read(documents))["failing_since"] == 0
    assert cursors.trouble_of(await read(documents)) == Trouble(0, None, "")


async def test_it_waits_as_long_as_the_other_side_asks_up_to_the_longest_pause(
    cursors: Cursors, documents: Documents
):
    turn = await take(cursors, documents)
    assert await turn.wait("429", asked_s=30) == (1, 30)
    assert await turn.wait("429", asked_s=3600) == (2, 600)


async def test_a_pause_can_be_ignored_and_a_lease_cannot(cursors: Cursors, documents: Documents):
    turn = await take(cursors, documents)
    await turn.wait("503")
    assert not cursors.can_take(await read(documents), ignores_pause=True)
    await turn.lease.release()
    assert not cursors.can_take(await read(documents))
    assert await cursors.take(await read(documents)) is None
    await take(cursors, documents, ignores_pause=True)


async def test_what_waits_by_now_is_not_taken_by_whoever_read_it_before(
    cursors: Cursors, documents: Documents
):
    seen = await read(documents)
    turn = await take(cursors, documents)
    await turn.wait("503")
    await turn.lease.release()
    assert await cursors.take(seen) is None


async def test_a_clock_that_was_ahead_leaves_neither_a_lease_nor_a_pause(
    documents: Documents, clock: MovableClock, cursors: Cursors
):
    ahead = cursors_of(documents, clock.off_by(hours=1))
    turn = await take(ahead, documents)
    await turn.wait("503", asked_s=600)
    assert cursors.can_take(await read(documents))
    assert cursors.trouble_of(await read(documents)).next_try_at is None


async def test_a_pause_ends_at_its_moment_and_with_a_clock_that_is_set_back(
    documents: Documents, clock: MovableClock, cursors: Cursors
):
    turn = await take(cursors, documents)
    await turn.wait("503", asked_s=600)
    await turn.lease.release()
    clock.move(seconds=599.999_999)
    assert cursors.trouble_of(await read(documents)).next_try_at is not None
    clock.move(microseconds=1)
    assert cursors.trouble_of(await read(documents)).next_try_at is None
    clock.set(seconds=-601)
    assert cursors.trouble_of(await read(documents)).next_try_at is None
    assert cursors.can_take(await read(documents))


async def test_reasons_are_bounded(cursors: Cursors, documents: Documents):
    turn = await take(cursors, documents)
    await turn.wait("x" * 5000)
    assert cursors.trouble_of(await read(documents)).reason == "x" * 300


async def test_a_cursor_that_lacks_newer_values_is_read_all_the_same(
    documents: Documents, clock: MovableClock
):
    cursors = cursors_of(documents, clock.both)
    await documents.insert(CURSORS, [{"_id": "a", "holder": "", "lease_until": 0}])
    assert cursors.trouble_of(await read(documents)) == Trouble(0, None, "")
    turn = await take(cursors, documents)
    assert await turn.wait("503") == (1, 1)


async def test_a_store_that_is_away_is_no_failure_of_the_cursor(
    losable: LosableDocuments, clock: MovableClock
):
    cursors = cursors_of(losable, clock.both)
    await losable.insert(CURSORS, [{"_id": "a", **cursors.fresh}])
    turn = await take(cursors, losable)
    losable.is_lost = True
    with pytest.raises(Unavailable):
        await turn.advance({"sent": 1})
    losable.is_lost = False
    assert await turn.advance({"sent": 1})


@pytest.fixture
async def dead_letters(documents: Documents, clock: MovableClock) -> DeadLetters:
    dead_letters = DeadLetters(documents, DEAD_LETTERS, clock=clock.both)
    await dead_letters.prepare()
    return dead_letters


async def test_dead_letters_are_listed_newest_first_and_counted_by_project(
    dead_letters: DeadLetters, clock: MovableClock
):
    await dead_letters.add("p1", {"p1:a": {"reason": "first"}})
    clock.move(seconds=1)
    await dead_letters.add("p1", {"p1:b": {"reason": "second"}})
    await dead_letters.add("p2", {"p2:a": {"reason": "other"}})
    await dead_letters.add("p2", {})
    assert [dead_letter["_id"] for dead_letter in await dead_letters.newest("p1")] == [
        "p1:b",
        "p1:a",
    ]
    assert len(await dead_letters.newest()) == 3
    assert len(await dead_letters.newest(limit=1)) == 1
    assert await dead_letters.count_by_project() == {"p1": 2, "p2": 1}


async def test_a_dead_letter_that_is_there_is_replaced(
    dead_letters: DeadLetters, clock: MovableClock
):
    await dead_letters.add("p1", {"p1:a": {"reason": "first"}})
    clock.move(seconds=1)
    await dead_letters.add("p1", {"p1:a": {"reason": "second"}})
    (dead_letter,) = await dead_letters.newest("p1")
    assert (dead_letter["reason"], dead_letter["at"]) == ("second", clock.both.now())


async def test_dead_letters_are_forgotten_by_id_and_purged_by_age(
    dead_letters: DeadLetters, clock: MovableClock
):
    await dead_letters.add("p1", {f"p1:{number}": {} for number in range(1200)})
    assert await dead_letters.forget([f"p1:{number}" for number in range(1100)]) == 1100
    assert await dead_letters.forget([]) == 0
    clock.move(days=2)
    await dead_letters.add("p1", {"p1:young": {}})
    assert await dead_letters.purge(86_400) == 100
    assert [dead_letter["_id"] for dead_letter in await dead_letters.newest()] == ["p1:young"]
