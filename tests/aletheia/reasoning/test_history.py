"""Reasoning runs of the past are kept for their time, the newest as a whole."""

from aletheia.reasoning.engine import Reasoner
from aletheia.reasoning.history import History
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import Sources


async def test_history_is_kept_for_its_time_and_the_newest_for_ever(
    reasoner: Reasoner, sources: Sources, clock: MovableClock
):
    for pending in (5, 1200, 7):
        sources.facts["queue_pending"] = pending
        await reasoner.run()
        clock.move(days=1)
    entries = await reasoner.deps.history.list_newest()
    assert [entry.seq for entry in entries] == [3, 2, 1]
    assert [entry.findings for entry in entries] == [(), ("queue_backlog",), ()]
    assert entries[0].figures["queue_pending"] == 7
    assert await reasoner.deps.history.purge(1.5 * 86_400) == 2
    assert [entry.seq for entry in await reasoner.deps.history.list_newest()] == [3]
    clock.move(days=400)
    await reasoner.deps.history.purge(86_400)
    assert len(await reasoner.deps.history.list_newest()) == 1
    assert await reasoner.deps.history.newest() is not None


async def test_the_output_is_kept_whole(reasoner: Reasoner, sources: Sources):
    sources.facts |= {"queue_pending": 1200}
    output = await reasoner.run()
    assert await reasoner.deps.history.newest() == output


async def test_before_the_first_run_there_is_none(reasoner: Reasoner):
    history = History(reasoner.deps.documents)
    assert await history.newest() is None
    assert await history.list_newest() == []


async def test_what_is_since_a_moment_comes_newest_first(reasoner: Reasoner, clock: MovableClock):
    for _ in range(4):
        await reasoner.run()
        clock.move(minutes=1)
    since = clock.now.replace(minute=clock.now.minute - 2)
    found = [entry.seq async for entry in reasoner.deps.history.walk_since(since)]
    assert found == [4, 3]


async def test_the_health_of_the_newest_run_is_read_without_its_output(
    reasoner: Reasoner, sources: Sources
):
    assert await reasoner.deps.history.health() is None
    sources.facts |= {"queue_pending": 1200, "alerts_critical": 1}
    await reasoner.run()
    assert await reasoner.deps.history.health() == (78, {"medium": 1, "high": 1})
