"""The flow `replay_dead_letters` on a real Prefect server."""

from typing import Any

from prefect.client.schemas.objects import State

from flows.poll import poll_tasks
from flows.replay import replay_dead_letters
from tests.fakes.upstream import FakeUpstream


async def end_of(**parameters: Any) -> State[Any]:
    """Run the flow, and return the state that it ends in."""
    flow: Any = replay_dead_letters
    return await flow(**parameters, return_state=True)


async def test_dead_letters_are_sent_through_once_more(upstream: FakeUpstream):
    for task_id in ("t1", "t2", "t3"):
        upstream.add(task_id)
        upstream.refuse_reports(task_id, 400)
    upstream.add("t4", "")
    first = await poll_tasks(shift_seconds=0)
    assert (first.tally.dead, first.tally.failed) == (3, 1)
    for task_id in ("t1", "t2", "t3"):
        upstream.refuse_reports(task_id, None)
    state = await end_of(code="claim_refused", limit=2)
    assert state.message == "2 succeeded, 0 failed again, 0 could not be replayed."
    report = await replay_dead_letters(ids=["t1", "t2", "t3"])
    assert report.tally.succeeded == 1
    assert {upstream.tasks[key].state for key in ("t1", "t2", "t3")} == {"succeeded"}


async def test_nothing_to_replay_is_no_failure(upstream: FakeUpstream):
    state = await end_of()
    assert state.is_completed()
    assert state.message == "There is no such dead letter."
    assert upstream.requests == []
