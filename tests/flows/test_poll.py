"""The flow `poll_tasks` on a real Prefect server."""

import asyncio
import json
from uuid import uuid4

import pytest
from prefect.blocks.core import Block

from aletheia.errors import Misconfigured, Refused, Unauthorized, Unavailable
from aletheia.intake.ledger import Ledger
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.store.clock import Clock
from flows.poll import poll_tasks
from tasks.clients.prefect_events import PrefectEvents
from tests.fakes.upstream import FakeUpstream
from tests.flows.conftest import artifacts, await_event, last_run

DONE = ["processing", "succeeded"]


async def test_a_shift_drains_and_says_what_it_did(upstream: FakeUpstream):
    for number in range(12):
        upstream.add(f"t{number}", f"text {number}")
    upstream.add("bad", "")
    report = await poll_tasks(shift_seconds=0)
    assert (report.ended, report.ticks) == ("drained", 1)
    assert (report.tally.succeeded, report.tally.failed) == (12, 1)
    assert report.tally.by_error == {"empty_text": 1}
    assert upstream.states == {**{f"t{n}": DONE for n in range(12)}, "bad": ["failed"]}


async def test_a_shift_tells_prefect_that_it_began_and_ended_and_which_tasks_are_dead(
    upstream: FakeUpstream,
):
    upstream.add("good")
    upstream.add("hopeless", "")
    await poll_tasks(shift_seconds=0)
    run_id = str((await last_run("poll_tasks")).id)
    started = await await_event("aletheia.shift.started", run_id=run_id)
    assert started["resource"]["prefect.resource.id"] == f"aletheia.shift.{run_id}"
    assert [it["prefect.resource.id"] for it in started["related"]] == [
        f"prefect.flow-run.{run_id}"
    ]
    ended = await await_event("aletheia.shift.ended", run_id=run_id)
    assert (ended["payload"]["ended"], ended["payload"]["succeeded"]) == ("drained", 1)
    dead = await await_event("aletheia.dead_letter.created", task_id="hopeless")
    assert dead["payload"]["code"] == "empty_text"


async def test_an_open_breaker_is_an_event_of_prefect(upstream: FakeUpstream, ledger: Ledger):
    breakers = CircuitBreaker(ledger.rows.documents, threshold=5, cooldown_s=60)
    name = f"provider-{uuid4()}"
    for _ in range(5):
        await breakers.fail(await breakers.admit(name), "down")
    upstream.add("t1")
    await poll_tasks(shift_seconds=0)
    await await_event("aletheia.breaker.opened", dependency=name)


async def test_a_shift_goes_on_while_its_events_cannot_be_sent(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
):
    async def refuse(self: PrefectEvents, events: object) -> None:
        del self, events
        raise Unavailable("prefect", "away")

    monkeypatch.setattr(PrefectEvents, "announce", refuse)
    upstream.add("t1")
    report = await poll_tasks(shift_seconds=0)
    assert (report.ended, upstream.states) == ("drained", {"t1": DONE})


async def test_what_the_mock_made_says_so(upstream: FakeUpstream):
    upstream.add("t1")
    await poll_tasks(shift_seconds=0)
    result = json.loads(upstream.bodies["t1"][-1])["result"]
    assert (result["mock"], result["provider"], result["dimensions"]) == (True, "mock", 384)


async def test_production_refuses_the_mock(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENVIRONMENT", "production")
    upstream.add("t1")
    with pytest.raises(Misconfigured, match="production"):
        await poll_tasks(shift_seconds=0)
    assert upstream.states == {}


async def test_a_shift_leaves_a_table_and_the_state_of_the_ledger(upstream: FakeUpstream):
    upstream.add("t1")
    upstream.add("t2", type="no_such_type")
    await poll_tasks(shift_seconds=0)
    run = await last_run("poll_tasks")
    (table,) = await artifacts("shift-report", run.id)
    rows = {row["what"]: row["tasks"] for row in json.loads(str(table.data))}
    assert rows["text_embedding: succeeded"] == 1
    assert rows["unknown: failed"] == 1
    assert "Ended: drained" in str(table.description)
    assert len(await artifacts("intake-status", run.id)) == 1


async def test_a_shift_polls_again_until_its_time_is_over(upstream: FakeUpstream):
    upstream.add("t1")
    running = asyncio.create_task(poll_tasks(shift_seconds=3))
    while upstream.states.get("t1") != DONE:
        await asyncio.sleep(0.05)
    upstream.add("t2")
    report = await running
    assert upstream.states == {"t1": DONE, "t2": DONE}
    assert report.ended == "time_over"
    assert report.ticks > 1


async def test_a_shift_ends_although_tasks_keep_coming(upstream: FakeUpstream):
    async def keep_listing() -> None:
        for number in range(100_000):
            upstream.add(f"t{number}")
            await asyncio.sleep(0.005)

    listing = asyncio.create_task(keep_listing())
    async with asyncio.timeout(30):
        report = await poll_tasks(shift_seconds=1)
    listing.cancel()
    assert report.ended == "time_over"
    assert report.tally.succeeded > 0


async def test_a_paused_intake_claims_nothing_and_resumes(upstream: FakeUpstream, ledger: Ledger):
    await ledger.set_paused(is_paused=True)
    upstream.add("t1")
    report = await poll_tasks(shift_seconds=0)
    assert (report.ended, upstream.requests) == ("paused", [])
    running = asyncio.create_task(poll_tasks(shift_seconds=4))
    await asyncio.sleep(1)
    assert upstream.requests == []
    await ledger.set_paused(is_paused=False)
    await running
    assert upstream.states == {"t1": DONE}


async def test_a_shift_that_is_locked_out_fails_and_loses_nothing(upstream: FakeUpstream):
    upstream.add("t1")
    upstream.tokens = {"secret"}
    with pytest.raises(Unauthorized):
        await poll_tasks(shift_seconds=0)
    upstream.tokens = None
    await poll_tasks(shift_seconds=0)
    assert upstream.states == {"t1": DONE}


async def test_a_shift_that_never_reaches_the_upstream_fails(upstream: FakeUpstream):
    upstream.fail_next(503, 503, on="pending")
    with pytest.raises(Unavailable):
        await poll_tasks(shift_seconds=0)
    run = await last_run("poll_tasks")
    assert run.state
    assert run.state.is_failed()
    assert len(await artifacts("shift-report", run.id)) == 1


async def test_an_outage_in_one_tick_does_not_end_the_shift(upstream: FakeUpstream):
    upstream.add("t1")
    upstream.fail_next(503, 503, on="pending")
    report = await poll_tasks(shift_seconds=2)
    assert upstream.states == {"t1": DONE}
    assert report.ticks > 1


async def test_a_wrong_address_fails_at_once(upstream: FakeUpstream):
    upstream.fail_next(404, on="pending")
    with pytest.raises(Refused):
        await poll_tasks(shift_seconds=0)
    assert upstream.count("pending") == 1


async def test_an_address_that_is_gone_for_a_tick_does_not_end_the_shift(upstream: FakeUpstream):
    upstream.add("t1")
    running = asyncio.create_task(poll_tasks(shift_seconds=4))
    while upstream.states != {"t1": DONE}:
        await asyncio.sleep(0.02)
    upstream.fail_next(404, on="pending")
    upstream.add("t2")
    report = await running
    assert upstream.states == {"t1": DONE, "t2": DONE}
    assert report.ended == "time_over"


async def test_a_resumed_shift_whose_time_is_over_ends_at_once(
    upstream: FakeUpstream, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    upstream.add("t1")
    run_id = str(uuid4())
    ledger.clock = Clock(lambda: 1_000_000.0)
    await ledger.shift_start(run_id)
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", run_id)
    report = await poll_tasks(shift_seconds=60)
    assert (report.ended, upstream.requests) == ("resumed_late", [])


@pytest.mark.usefixtures("upstream")
async def test_blocks_that_are_missing_are_named():
    await Block.adelete("aletheia-upstream/default")
    with pytest.raises(Misconfigured, match="aletheia setup"):
        await poll_tasks(shift_seconds=0)
