"""The sources of a snapshot that are Aletheia's own, over a real store."""

from typing import Any

import pytest

from aletheia.analysis.model_manager import MODELS
from aletheia.documents import Documents
from aletheia.events.dead_events import DEAD_EVENTS
from aletheia.events.log import EVENTS
from aletheia.intake.ledger import Ledger
from aletheia.intake.rows import ROWS
from aletheia.quality.evaluation_store import REQUESTS
from aletheia.reasoning import sources
from aletheia.reasoning.collecting import Collector, collect_snapshot
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.series import Counters
from aletheia.settings import IntakeSettings
from aletheia.store.clock import SECOND
from tests.fakes.clock import MovableClock

NUMBERS = {
    "aletheia_ledger_rows|claimed": 40.0,
    "aletheia_ledger_rows|waiting": 2.0,
    "aletheia_ledger_rows|processing": 5.0,
    "aletheia_ledger_rows|kept": 1.0,
    "aletheia_dead_letters": 7.0,
    "aletheia_tasks_total|text_embedding|succeeded": 900.0,
    "aletheia_tasks_total|translation|succeeded": 100.0,
    "aletheia_tasks_total|text_embedding|failed": 7.0,
    "aletheia_lane_waiting|media": 3.0,
}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


async def read() -> Counters:
    return Counters(NUMBERS)


async def collect(source: Collector, clock: MovableClock) -> SystemSnapshot:
    snapshot = await collect_snapshot([source], timeout_s=5, clock=clock.both)
    assert not snapshot.failed_sources
    return snapshot


def row(name: str, state: str, **values: Any) -> dict[str, Any]:
    return {"_id": name, "task_id": name, "state": state, "owner": None, "token": 1, **values}


async def test_the_queue_comes_from_counters_and_not_from_rows(
    documents: Documents, clock: MovableClock
):
    ledger = Ledger(documents, IntakeSettings(), owner="test", clock=clock.both)
    await ledger.prepare()
    await ledger.set_paused(is_paused=True)
    await ledger.set_flags(blocked_head=23)
    snapshot = await collect(sources.ledger_source(ledger, read), clock)
    assert (snapshot.queue_pending, snapshot.queue_processing) == (42, 6)
    assert (snapshot.queue_failed, snapshot.queue_success) == (7, 1000)
    intake = snapshot.additional_metrics["intake"]
    assert (intake["is_paused"], intake["blocked_head"], intake["waiting"]) == (True, 23, 2)


async def test_leases_that_ran_out_are_found_with_the_age_of_the_oldest(
    documents: Documents, clock: MovableClock
):
    ledger = Ledger(documents, IntakeSettings(), owner="test", clock=clock.both)
    await ledger.prepare()
    ended = clock() - 600
    await documents.insert(
        ROWS,
        [
            row("a", "processing", owner="x", lease_until=ended),
            row("b", "claimed", owner="x", lease_until=clock() + 50),
            row("c", "reported", owner=None, lease_until=0),
        ],
    )
    snapshot = await collect(sources.ledger_source(ledger, read), clock)
    intake = snapshot.additional_metrics["intake"]
    assert (intake["leases_expired"], intake["oldest_expired_s"]) == (1, pytest.approx(600))
    assert intake["leases_held"] == 45


async def test_the_share_of_failed_tasks_is_of_those_since_the_snapshot_before(
    clock: MovableClock,
):
    numbers = dict(NUMBERS)

    async def read_again() -> Counters:
        return Counters(dict(numbers))

    source = sources.Telemetry(read_again).source()
    first = await collect(source, clock)
    assert "task_failure_share" not in first.additional_metrics["telemetry"]
    numbers["aletheia_tasks_total|text_embedding|succeeded"] += 30
    numbers["aletheia_tasks_total|text_embedding|failed"] += 10
    second = await collect(source, clock)
    assert second.additional_metrics["telemetry"]["task_failure_share"] == 0.25
    numbers["aletheia_tasks_total|text_embedding|failed"] += 5
    third = await collect(source, clock)
    assert "task_failure_share" not in third.additional_metrics["telemetry"], "too few tasks"


async def test_lanes_show_how_many_wait_and_how_old_the_oldest_task_is(
    documents: Documents, clock: MovableClock
):
    ledger = Ledger(documents, IntakeSettings(), owner="test", clock=clock.both)
    await ledger.prepare()
    await documents.insert(
        ROWS,
        [
            row("a", "claimed", claimed_at=clock() - 60),
            row("b", "kept", claimed_at=clock() - 900),
            row("c", "reported", claimed_at=clock() - 5000),
            row("d", "queued", claimed_at=clock() - 9000, lane="media"),
        ],
    )
    snapshot = await collect(sources.lanes_source(ledger, read), clock)
    assert snapshot.additional_metrics["lanes"] == {
        "media": {"name": "media", "waiting": 3, "oldest_age_s": pytest.approx(9000, abs=1)},
        "intake": {"name": "intake", "oldest_age_s": pytest.approx(900, abs=1)},
    }


async def test_of_a_very_long_queue_the_oldest_task_is_not_looked_for(
    documents: Documents, clock: MovableClock
):
    async def read_many() -> Counters:
        return Counters({"aletheia_ledger_rows|claimed": 20_001.0})

    ledger = Ledger(documents, IntakeSettings(), owner="test", clock=clock.both)
    snapshot = await collect(sources.lanes_source(ledger, read_many), clock)
    assert snapshot.additional_metrics["lanes"] == {}


async def test_gather_runs_show_the_oldest_open_one_and_what_the_newest_did(
    documents: Documents, clock: MovableClock
):
    report = {"items_created": 42, "departments_processed": 3, "iterations": 9}
    await documents.insert(
        "runs",
        [
            {"_id": "a", "state": "open", "opened_at": clock() - 90},
            {"_id": "b", "state": "completed", "opened_at": clock() - 300, "report": report},
            {"_id": "c", "state": "completed", "opened_at": clock() - 900, "report": {}},
        ],
    )
    old, new = clock.now.replace(hour=9).isoformat(), clock.now.isoformat()
    await documents.insert(
        REQUESTS,
        [
            {"_id": "x", "run_id": None, "requested_at": old},
            {"_id": "y", "run_id": None, "requested_at": new},
            {"_id": "z", "run_id": "r", "requested_at": old},
        ],
    )
    source = sources.gather_source(documents, runs="runs", is_open="open", is_done="completed")
    found = (await collect(source, clock)).additional_metrics["gather"]
    assert found == {
        "open": 1,
        "evaluations_waiting": 1,
        "oldest_open_s": pytest.approx(90),
        **{f"last_{name}": value for name, value in report.items()},
    }


async def test_events_show_their_types_and_never_their_texts(
    documents: Documents, clock: MovableClock
):
    body = '{"type": "department_started", "department_name": "sk-canary"}'
    await documents.insert(
        EVENTS,
        [
            {"_id": f"p:{seq:03}", "project": "p", "seq": seq, "at": seq * SECOND, "body": body}
            for seq in range(1, 61)
        ],
    )
    await documents.insert(DEAD_EVENTS, [{"_id": "p:1", "project": "p", "at": 1}])
    snapshot = await collect(sources.events_source(documents), clock)
    assert [event["seq"] for event in snapshot.recent_events] == list(range(60, 10, -1))
    assert snapshot.recent_events[0]["type"] == "department_started"
    assert snapshot.additional_metrics["events"] == {"given_up": 1}
    assert "sk-canary" not in snapshot.model_dump_json()


async def test_models_show_how_much_of_their_memory_they_take(
    documents: Documents, clock: MovableClock
):
    await documents.insert(
        MODELS,
        [
            {"_id": "local:a", "is_held": True, "memory_bytes": 300},
            {"_id": "local:b", "is_held": False, "memory_bytes": 500},
        ],
    )
    found = (await collect(sources.models_source(documents, 400), clock)).additional_metrics
    assert found["models"] == {"loaded": 1, "memory_bytes": 300, "memory_share": 0.75}
