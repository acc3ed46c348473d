"""What becomes of tasks is counted when it is written, and never less after that."""

import json
from typing import Any

import pytest

from aletheia import metrics
from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.sign_in import NoSignIn
from aletheia.errors import ComputeFailed, ModelUnavailable
from aletheia.intake.counting import MAX_QUEUE_WAIT_S
from aletheia.intake.models import RowState
from aletheia.intake.parsing import parse_entry
from aletheia.intake.pipeline import drain
from aletheia.intake.poller import Poller
from aletheia.intake.rows import ROWS
from aletheia.metrics import LEDGER_ROWS, QUEUE_WAIT, TASK_DURATION, TASKS
from aletheia.series import Counters
from aletheia.store.counters import read_counters
from tests.aletheia.intake.conftest import Bench


async def counted(bench: Bench) -> Counters:
    return await read_counters(bench.documents)


async def tasks(bench: Bench, task_type: str = "echo") -> dict[str, float]:
    return (await counted(bench)).by(TASKS, "state", type=task_type)


async def unfinished(bench: Bench) -> dict[str, float]:
    states = (await counted(bench)).by(LEDGER_ROWS, "state")
    return {state: count for state, count in states.items() if count}


async def assert_gauges_are_right(bench: Bench) -> None:
    rows = await bench.documents.find(ROWS, {})
    expected = {
        state: sum(row["state"] == state for row in rows) for state in metrics.UNFINISHED_STATES
    }
    assert await unfinished(bench) == {state: count for state, count in expected.items() if count}
    dead = sum(row.get("dead_code") is not None for row in rows)
    assert (await counted(bench)).value(metrics.DEAD_LETTERS) == dead


async def replay(bench: Bench) -> None:
    poller = bench.poller()
    found = await poller.held.ledger.dead_letters.find(limit=100)
    left = [row["_id"] for row in found]

    async def collect() -> Any:
        batch = await poller.replayer.recall(left)
        left.clear()
        return batch

    async with poller.holding():
        await drain(collect, poller.process)


async def test_a_task_is_counted_when_it_is_claimed_and_when_it_is_reported(bench: Bench):
    for number in range(3):
        bench.add(f"t{number}")
    await bench.drain()
    assert await tasks(bench) == {"claimed": 3, "succeeded": 3}
    assert (await counted(bench)).histogram(TASK_DURATION, "echo").count == 3
    await assert_gauges_are_right(bench)


async def test_a_failure_is_counted_with_its_code_and_its_retries(bench: Bench):
    bench.processors.faults["hello"] = [ComputeFailed("odd", "x")] * 4
    bench.add("t1")
    await bench.drain()
    assert await tasks(bench) == {"claimed": 1, "failed": 1}
    counters = await counted(bench)
    assert counters.by(metrics.TASK_FAILURES, "code") == {"odd": 1}
    assert counters.by(metrics.TASK_RETRIES, "type") == {"echo": 3}
    assert counters.by(metrics.DEAD_LETTERS_ADDED, "code") == {"odd": 1}
    await assert_gauges_are_right(bench)


async def test_names_of_types_that_nobody_computes_are_not_labels(bench: Bench):
    for number in range(30):
        bench.add(f"t{number}", type=f"type-{number}")
    bench.add("bad", type="")
    await bench.drain()
    types = set((await counted(bench)).by(TASKS, "type"))
    assert types == {"unknown", "invalid"}
    assert await tasks(bench, "unknown") == {"claimed": 30, "failed": 30}


async def test_an_entry_without_an_id_is_counted_once(bench: Bench):
    bench.upstream.add_raw({"type": "echo"})
    for _ in range(2):
        await bench.drain()
    assert await tasks(bench, "invalid") == {"rejected": 1}


async def test_the_wait_from_creation_to_claim_is_observed_and_kept(bench: Bench):
    created = bench.clock.now - 42
    bench.add("t1", createdAt=created * 1000)
    bench.add("t2", created_at="not a moment")
    bench.add("t3", createdAt=bench.clock.now + 3600)
    bench.add("t4", createdAt=bench.clock.now - MAX_QUEUE_WAIT_S - 1)
    await bench.drain()
    waited = (await counted(bench)).histogram(QUEUE_WAIT, "intake")
    assert (waited.count, waited.total) == (2, pytest.approx(42, abs=0.01))
    assert (await bench.rows())["t1"]["created_at"] == pytest.approx(created)


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        ("2026-11-30T09:00:00Z", 1_796_029_200.0),
        ("2026-11-30T10:00:00+01:00", 1_796_029_200.0),
        ("2026-11-30T09:00:00", 1_796_029_200.0),
        (1_796_029_200, 1_796_029_200.0),
        (1_796_029_200_000, 1_796_029_200.0),
        ("", None),
        ("9" * 1000, None),
        (-1, None),
        (0, None),
        (True, None),
        (10**400, None),
        (1e308, None),
        ({"$date": 1}, None),
        (["2026-11-30T09:00:00Z"], None),
    ],
)
def test_a_moment_of_creation_is_read_in_any_form_or_left_out(found: object, seconds: float | None):
    entry = {"id": "t1", "type": "echo", "data": {"text": "x"}, "createdAt": found}
    read = parse_entry(json.dumps(entry))
    assert getattr(read.task, "created_at", "faulty") == seconds


async def test_what_is_claimed_and_not_done_is_in_the_gauge(bench: Bench):
    bench.add("t1")
    bench.add("t2")
    lost = bench.poller()
    await lost.held.ledger.prepare()
    await lost.collector.collect()
    assert await unfinished(bench) == {"processing": 2}
    bench.clock.now += 100
    await bench.drain()
    assert await unfinished(bench) == {}
    assert await tasks(bench) == {"claimed": 2, "succeeded": 2}


async def test_a_task_that_waits_is_counted_as_waiting(bench: Bench):
    bench.processors.outages = [ModelUnavailable("m", "away")]
    bench.add("t1")
    await bench.drain()
    assert await unfinished(bench) == {"waiting": 1}
    bench.clock.now += 700
    await bench.drain()
    assert await tasks(bench) == {"claimed": 1, "waiting": 1, "succeeded": 1}
    await assert_gauges_are_right(bench)


async def test_a_replayed_dead_letter_leaves_the_gauge_and_not_the_counter(bench: Bench):
    bench.processors.faults["hello"] = [ComputeFailed("odd", "x")] * 4
    bench.add("t1")
    await bench.drain()
    await assert_gauges_are_right(bench)
    bench.upstream.tasks["t1"].state = "pending"
    bench.upstream.tasks["t1"].report = None
    await replay(bench)
    await assert_gauges_are_right(bench)
    assert await tasks(bench) == {"claimed": 1, "failed": 1, "succeeded": 1}
    assert (await counted(bench)).by(metrics.DEAD_LETTERS_ADDED, "code") == {"odd": 1}


async def test_other_content_supersedes_and_is_counted(bench: Bench):
    bench.add("t1", "one")
    bench.processors.outages = [ModelUnavailable("m", "away")]
    await bench.drain()
    bench.add("t1", "two")
    bench.upstream.tasks["t1"].state = "pending"
    bench.clock.now += 700
    await bench.drain()
    found = await tasks(bench)
    assert found["superseded"] == 1
    assert found["claimed"] == 2
    await assert_gauges_are_right(bench)


async def test_a_report_that_is_sent_again_is_not_counted_again(bench: Bench):
    bench.add("t1")
    await bench.drain()
    bench.clock.now += 61
    bench.upstream.relist("t1", forgets=True)
    assert (await bench.drain()).held.tally.resent == 1
    assert await tasks(bench) == {"claimed": 1, "succeeded": 1}
    await assert_gauges_are_right(bench)


async def test_retention_lowers_no_counter_and_keeps_gauges_right(bench: Bench):
    bench.processors.faults["bad"] = [ComputeFailed("odd", "x")] * 4
    bench.add("t1")
    bench.add("t2", "bad")
    await bench.drain()
    before = await counted(bench)
    bench.clock.now += 31 * 86_400
    assert await bench.ledger().purge() >= 2
    assert await bench.documents.count(ROWS, {}) == 0
    after = await counted(bench)
    lowered = {
        name
        for name, number in before.numbers.items()
        if after.numbers.get(name, 0) < number and not name.startswith("aletheia_dead_letters|")
    }
    assert lowered == {metrics.DEAD_LETTERS.name}
    assert after.value(metrics.DEAD_LETTERS) == 0


async def test_gauges_of_a_store_older_than_its_counters_are_corrected(bench: Bench):
    ledger = bench.ledger()
    await ledger.prepare()
    rows = [{"_id": f"r{n}", "state": RowState.KEPT, "dead_code": None} for n in range(3)]
    await bench.documents.insert(ROWS, [*rows, {"_id": "d", "state": "dead", "dead_code": "x"}])
    await ledger.correct_gauges()
    assert await unfinished(bench) == {"kept": 3}
    assert (await counted(bench)).value(metrics.DEAD_LETTERS) == 1


async def test_requests_to_the_upstream_are_counted_with_the_next_write(bench: Bench):
    note = bench.documents.note
    client = HttpUpstream(bench.upstream.url, sign_in=NoSignIn(), retry_base_s=0, note=note)
    await client.open()
    bench.add("t1")
    bench.upstream.fail_next(503)
    await bench.drain(Poller(client, bench.ledger(), bench.processors))
    await client.close()
    counters = await counted(bench)
    assert counters.by(metrics.UPSTREAM_REQUESTS, "status")["503"] == 1
    assert counters.total(metrics.UPSTREAM_REQUESTS, endpoint="task", status="200") == 2
    assert counters.total(metrics.UPSTREAM_REQUESTS, endpoint="pending", method="GET") >= 2
    assert counters.histogram(metrics.UPSTREAM_DURATION, "task").count == 2
