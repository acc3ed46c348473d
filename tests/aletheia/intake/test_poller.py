"""What a poller does with tasks, good and bad, over a strict upstream and a real ledger."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from aletheia.analysis.processor import Finished
from aletheia.documents import Change, Document, Update
from aletheia.errors import (
    ComputeFailed,
    InvalidTask,
    ModelUnavailable,
    TooLong,
    Unauthorized,
    Unavailable,
)
from aletheia.intake.models import RowState
from aletheia.intake.pages import MIN_PAGE
from aletheia.intake.parsing import parse_entry
from aletheia.intake.pipeline import drain
from aletheia.intake.reports import RESULTS
from aletheia.intake.rows import ROWS, Rows
from tests.aletheia.intake.conftest import Bench

DONE = ["processing", "succeeded"]


def last_report(bench: Bench, task_id: str) -> dict[str, Any]:
    """The last report of a task."""
    return orjson.loads(bench.upstream.bodies[task_id][-1])


async def test_tasks_are_claimed_computed_and_reported(bench: Bench):
    bench.add("t1", "one")
    bench.add("t2", "two")
    poller = await bench.drain()
    assert bench.upstream.states == {"t1": DONE, "t2": DONE}
    assert last_report(bench, "t1")["result"]["echo"] == "ONE"
    assert last_report(bench, "t1")["usage"] == {"tokens": 3}
    assert (poller.held.tally.claimed, poller.held.tally.succeeded) == (2, 2)
    assert await bench.states() == {"t1": "reported", "t2": "reported"}
    assert (await bench.ledger().overview()).held == 0


async def test_many_pages_become_one_batch_and_order_is_kept(bench: Bench):
    texts = [f"text {number}" for number in range(57)]
    for number, text in enumerate(texts):
        bench.add(f"t{number}", text)
    await bench.drain(batch_max_tasks=256)
    assert bench.processors.computed == [texts]
    assert all(states == DONE for states in bench.upstream.states.values())


async def test_a_batch_never_exceeds_its_bound(bench: Bench):
    for number in range(57):
        bench.add(f"t{number}", f"text {number}")
    await bench.drain(batch_max_tasks=24)
    assert [len(call) for call in bench.processors.computed] == [24, 24, 9]


async def test_groups_are_computed_apart(bench: Bench):
    for number in range(6):
        bench.add(f"t{number}", f"text {number}", data={"text": str(number), "model": number % 2})
    await bench.drain()
    assert sorted(bench.processors.computed) == [["0", "2", "4"], ["1", "3", "5"]]


async def test_computations_in_flight_are_bounded(bench: Bench):
    for number in range(30):
        bench.add(f"t{number}", data={"text": "x", "model": number})
    await bench.drain(concurrency_limit=3)
    assert bench.processors.in_flight == 3


async def test_upstream_requests_in_flight_are_bounded(bench: Bench):
    for number in range(40):
        bench.add(f"t{number}")
    bench.upstream.delay_s = 0.002
    await bench.drain()
    assert bench.upstream.max_in_flight == 5


async def test_faulty_tasks_fail_with_their_code_and_cost_their_neighbours_nothing(bench: Bench):
    bench.add("good")
    bench.add("type", type="no_such_type")
    bench.add("text", data={"text": 7})
    bench.add("input", data=None)
    bench.upstream.add_raw({"type": "echo", "data": {"text": "no id"}})
    bench.upstream.add_raw("not an object")
    poller = await bench.drain()
    assert bench.upstream.states["good"] == DONE
    faulty = bench.upstream.states.keys() - {"good"}
    codes = {key: last_report(bench, key)["error"]["code"] for key in faulty}
    assert codes == {"type": "unknown_type", "text": "missing_text", "input": "missing_input"}
    assert poller.held.tally.rejected == 2
    assert poller.held.tally.by_error == dict.fromkeys(codes.values(), 1)


async def test_more_faulty_tasks_than_a_page_holds_do_not_block_the_good_ones(bench: Bench):
    for number in range(25):
        bench.add(f"bad{number}", type="no_such_type")
    bench.add("good")
    await bench.drain()
    assert bench.upstream.states["good"] == DONE
    assert all(bench.upstream.states[f"bad{n}"] == ["failed"] for n in range(25))


async def test_an_entry_without_an_id_is_recorded_once(bench: Bench):
    bench.upstream.add_raw({"type": "echo", "data": {"text": "no id"}})
    first = await bench.drain()
    second = await bench.drain()
    assert (first.held.tally.rejected, second.held.tally.rejected) == (1, 0)
    assert list((await bench.states()).values()) == ["rejected"]


def limits(bench: Bench) -> list[int]:
    """The sizes of the pages that were asked for."""
    asked = [seen for seen in bench.upstream.requests if seen.endpoint == "pending"]
    return [int(seen.query["limit"]) for seen in asked]


def block(bench: Bench, count: int) -> None:
    """List entries that nothing can be done about."""
    for number in range(count):
        bench.upstream.add_raw({"type": "echo", "number": number})


@pytest.mark.parametrize("blocked", [10, 25, 99])
async def test_pages_grow_until_something_comes_that_is_not_blocked(bench: Bench, blocked: int):
    block(bench, blocked)
    for number in range(3):
        bench.add(f"good {number}")
    poller = await bench.drain()
    assert bench.upstream.states == {f"good {number}": DONE for number in range(3)}
    assert (poller.held.tally.blocked_head, (await bench.ledger().overview()).blocked_head) == (
        0,
        0,
    )


@pytest.mark.parametrize("kind", ["without id", "not pending", "held by another", "deferred"])
@pytest.mark.parametrize(("blocked", "batch"), [(79, 10), (999, 256), (31, 1)])
async def test_a_head_of_any_length_and_kind_hides_nothing_whatever_the_batch(
    bench: Bench, kind: str, blocked: int, batch: int
):
    bench.upstream.max_limit = 5000
    model = {"text": "x", "model": "slow"}
    for number in range(blocked):
        state = "processing" if kind == "not pending" else "pending"
        entry = {"id": f"b{number}", "type": "echo", "state": state, "data": model}
        bench.upstream.add_raw({"n": number} if kind == "without id" else entry)
    if kind == "held by another":
        await bench.poller(batch_max_tasks=1000, poll_limit=1000).collector.collect()
        for number in range(blocked):
            bench.upstream.relist(f"b{number}", forgets=True)
    poller = bench.poller(batch_max_tasks=batch)
    if kind == "deferred":
        poller.held.defer("echo", "slow", Unavailable("slow", "down"))
    for number in range(35):
        bench.add(f"good {number}")
    await bench.drain(poller)
    assert all(bench.upstream.tasks[f"good {n}"].states == DONE for n in range(35))
    assert poller.held.tally.blocked_head == 0
    assert max(map(len, bench.processors.computed)) <= batch


async def test_blocked_entries_take_no_place_on_a_page(bench: Bench):
    block(bench, 9)
    for number in range(40):
        bench.add(f"good {number}")
    await bench.drain()
    assert len(bench.upstream.states) == 40
    assert len(limits(bench)) <= 8


async def test_tasks_that_the_upstream_refuses_do_not_hide_those_after_them(bench: Bench):
    for number in range(25):
        bench.add(f"bad {number}")
        bench.upstream.refuse_reports(f"bad {number}", 422)
    bench.add("good")
    await bench.drain()
    assert bench.upstream.states == {"good": DONE}


async def test_a_blocked_head_ends_the_drain_and_says_so(bench: Bench):
    bench.upstream.max_limit = 23
    block(bench, 30)
    bench.add("good")
    poller = await bench.drain()
    assert bench.upstream.states == {}
    assert poller.held.tally.blocked_head == 23
    assert max(limits(bench)) == 40, "no larger page is asked for after one is refused"
    assert (await bench.ledger().overview()).blocked_head == 23
    bench.upstream.max_limit = 100
    await bench.drain()
    assert bench.upstream.states == {"good": DONE}
    assert (await bench.ledger().overview()).blocked_head == 0


async def test_a_page_that_is_too_long_is_asked_for_in_smaller_pieces(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aletheia.adapters.upstream.client.MAX_PAGE_BYTES", 10_000)
    for number in range(12):
        bench.add(f"t{number}", "x" * 3000)
    await bench.drain()
    assert len(bench.upstream.states) == 12
    assert all(states == DONE for states in bench.upstream.states.values())


async def test_pages_that_are_too_long_are_asked_for_once_in_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aletheia.adapters.upstream.client.MAX_PAGE_BYTES", 40_000)
    for number in range(120):
        bench.add(f"t{number}", "x" * 3000)
    await bench.drain(bench.poller(poll_limit=80, batch_max_tasks=200))
    assert list(bench.upstream.states.values()) == [DONE] * 120
    too_long = [limit for limit in limits(bench) if limit > 13]
    assert len(too_long) <= 4 + len(limits(bench)) / 5


@pytest.mark.parametrize(("blocked", "max_limit"), [(0, 100), (0, 10), (3, 100)])
async def test_pages_grow_again_once_a_task_longer_than_any_page_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, blocked: int, max_limit: int
):
    bench.upstream.max_limit = max_limit
    monkeypatch.setattr("aletheia.adapters.upstream.client.MAX_PAGE_BYTES", 10_000)
    bench.add("long", "x" * 12_000)
    poller = bench.poller(poll_limit=20)
    with pytest.raises(TooLong):
        await bench.drain(poller)
    bench.upstream._pending.clear()  # pyright: ignore[reportPrivateUsage] - it is withdrawn
    bench.upstream.requests.clear()
    block(bench, blocked)
    for number in range(60):
        bench.add(f"t{number}", "x")
    for _ in range(3):
        await bench.drain(poller)
    assert list(bench.upstream.states.values()) == [DONE] * 60
    assert len(limits(bench)) < 20
    assert max(limits(bench)) <= max(max_limit, 20)


async def test_a_page_is_looked_up_once_however_small_the_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    looked_up: list[int] = []
    of_ids = Rows.of_ids

    async def count(self: Rows, task_ids: Sequence[str]) -> dict[str, list[Document]]:
        looked_up.append(len(task_ids))
        return await of_ids(self, task_ids)

    monkeypatch.setattr(Rows, "of_ids", count)
    bench.upstream.max_limit = 5000
    poller, model = bench.poller(batch_max_tasks=1), {"text": "x", "model": "slow"}
    poller.held.defer("echo", "slow", Unavailable("slow", "down"))
    for number in range(100):
        bench.upstream.add_raw({"id": f"b{number}", "type": "echo", "data": model})
    bench.add("good")
    await bench.drain(poller)
    assert bench.upstream.states == {"good": DONE}
    assert len(looked_up) <= 2 * len(limits(bench))


async def test_a_task_that_is_longer_than_any_page_is_found_at_the_head(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aletheia.adapters.upstream.client.MAX_PAGE_BYTES", 10_000)
    bench.add("long", "x" * 12_000)
    bench.add("good")
    with pytest.raises(TooLong):
        await bench.drain()
    assert (await bench.ledger().overview()).blocked_head == 1
    monkeypatch.setattr("aletheia.adapters.upstream.client.MAX_PAGE_BYTES", 20_000)
    await bench.drain()
    assert bench.upstream.states == {"long": DONE, "good": DONE}
    assert (await bench.ledger().overview()).blocked_head == 0


# What is forbidden


async def test_a_task_that_is_forbidden_stops_no_other_one(bench: Bench):
    for number in range(61):
        bench.add(f"t{number}")
    bench.upstream.refuse_reports("t30", 403)
    poller = await bench.drain()
    assert len(bench.upstream.states) == 60
    assert (await bench.rows())["t30"]["dead_code"] == "claim_refused"
    assert poller.held.trouble is None


async def test_a_report_that_is_forbidden_stops_no_other_one(bench: Bench):
    for number in range(8):
        bench.add(f"t{number}")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    async with poller.holding():
        batch = await poller.collector.collect()
        bench.upstream.refuse_reports("t3", 403)
        await poller.process(batch)
    assert (await bench.rows())["t3"]["dead_code"] == "report_refused"
    assert list(bench.upstream.states.values()).count(DONE) == 7


async def test_three_forbidden_tasks_in_a_row_are_a_lock_out(bench: Bench):
    for number in range(9):
        bench.add(f"t{number}")
        bench.upstream.refuse_reports(f"t{number}", 403)
    with pytest.raises(Unauthorized):
        await bench.drain()
    assert sum(map(len, bench.upstream.bodies.values())) <= 3 + bench.settings().concurrency_limit
    for number in range(9):
        bench.upstream.refuse_reports(f"t{number}", None)
    await bench.drain()
    assert all(states == DONE for states in bench.upstream.states.values())
    assert len(bench.upstream.states) == 9


async def test_one_forbidden_task_alone_stays_pending_until_another_is_accepted(bench: Bench):
    bench.add("alone")
    bench.upstream.refuse_reports("alone", 403)
    poller = await bench.drain()
    assert await bench.states() == {"alone": "claimed"}
    assert isinstance(poller.held.trouble, Unauthorized)
    bench.clock.now += 40
    bench.add("t2")
    await bench.drain(poller)
    assert poller.held.trouble is None
    bench.clock.now += 40
    await bench.drain(poller)
    assert await bench.states() == {"alone": "dead", "t2": "reported"}
    assert poller.held.trouble is None


async def test_pages_fall_back_to_ten_where_larger_ones_are_refused(bench: Bench):
    bench.upstream.max_limit = MIN_PAGE
    for status in (400, 422):
        bench.upstream.limit_refusal = status
        for number in range(12):
            bench.add(f"{status}-{number}")
        await bench.drain(poll_limit=50)
    assert all(states == DONE for states in bench.upstream.states.values())
    assert len(bench.upstream.states) == 24


async def test_ids_with_slashes_arrive_whole(bench: Bench):
    bench.add("a/b c?d#e%2f")
    await bench.drain()
    assert bench.upstream.states == {"a/b c?d#e%2f": DONE}


# Attempts


async def test_a_computation_that_fails_is_tried_again_alone(bench: Bench):
    bench.processors.faults["bad"] = [ComputeFailed("odd", "once")] * 2
    bench.add("t1", "good")
    bench.add("t2", "bad")
    await bench.drain()
    assert bench.processors.computed == [["good", "bad"], ["bad"], ["bad"]]
    assert bench.upstream.states == {"t1": DONE, "t2": DONE}


async def test_a_task_fails_after_three_further_tries(bench: Bench):
    bench.processors.faults["bad"] = [ComputeFailed("odd", "always")] * 9
    bench.add("t1", "bad")
    await bench.drain()
    assert bench.processors.computed == [["bad"]] * 4
    assert last_report(bench, "t1")["error"] == {
        "code": "odd",
        "message": "always",
        "retryable": True,
    }
    assert (await bench.rows())["t1"]["dead_code"] == "odd"


@pytest.mark.parametrize(
    ("own", "calls"),
    [
        ({"max_retries": 1}, 2),
        ({"max_retries": 3, "retry_count": 2}, 2),
        ({"max_retries": 3, "retry_count": 7}, 1),
        ({"max_retries": 0}, 1),
    ],
)
async def test_the_tasks_own_number_of_tries_wins(bench: Bench, own: dict[str, int], calls: int):
    bench.processors.faults["bad"] = [ComputeFailed("odd", "always")] * 9
    bench.add("t1", "bad", **own)
    await bench.drain()
    assert len(bench.processors.computed) == calls


async def test_what_cannot_be_mended_is_not_tried_again(bench: Bench):
    bench.processors.faults["bad"] = [InvalidTask("input_too_long", "too long")] * 9
    bench.add("t1", "bad")
    await bench.drain()
    assert bench.processors.computed == [["bad"]]
    assert last_report(bench, "t1")["error"]["code"] == "input_too_long"


async def test_a_fault_of_a_whole_call_costs_one_attempt_and_isolates_the_rest(bench: Bench):
    bench.processors.outages = [ComputeFailed("odd", "all of them")]
    bench.add("t1", "one")
    bench.add("t2", "two")
    await bench.drain()
    assert bench.processors.computed == [["one"], ["two"]]
    assert bench.upstream.states == {"t1": DONE, "t2": DONE}


@pytest.mark.parametrize("outage", [Unavailable("x", "down"), ModelUnavailable("m", "gone")])
async def test_an_outage_uses_up_no_attempt_and_nothing_is_lost(bench: Bench, outage: Exception):
    assert isinstance(outage, Unavailable | ModelUnavailable)
    bench.processors.outages = [outage] * 9
    bench.add("t1")
    for _ in range(5):
        poller = await bench.drain()
        assert poller.held.trouble is outage
        assert await bench.states() == {"t1": "waiting"}
        assert (await bench.rows())["t1"]["attempts"] == 0
        bench.clock.now += 31
    bench.processors.outages = []
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}


async def test_while_a_provider_is_down_its_tasks_stay_pending_upstream(bench: Bench):
    bench.processors.outages = [Unavailable("x", "down")]
    bench.add("t1")
    poller = await bench.drain()
    bench.add("late")
    await bench.drain(poller)
    assert bench.upstream.states == {"t1": ["processing"]}
    bench.clock.now += 31
    await bench.drain(poller)
    assert bench.upstream.states == {"t1": DONE, "late": DONE}


# Reporting


async def test_a_report_that_fails_twice_is_sent_again_with_the_same_bytes(bench: Bench):
    bench.add("t1")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    async with poller.holding():
        batch = await poller.collector.collect()
        bench.upstream.fail_next(503, 503, on="report")
        await asyncio.gather(poller.computer.compute(batch), poller.reporter.report(batch))
    bodies = bench.upstream.bodies["t1"]
    assert len(bodies) == 4
    assert len(set(bodies[1:])) == 1
    assert bench.upstream.states == {"t1": DONE}


async def compute_only(bench: Bench, *, then: int, tries: int = 3) -> None:
    """Claim and compute what is pending, and let every report of it fail with a status."""
    poller = bench.poller()
    await poller.held.ledger.prepare()
    async with poller.holding():
        batch = await poller.collector.collect()
        bench.upstream.fail_next(*[then] * tries, on="report")
        await asyncio.gather(poller.computer.compute(batch), poller.reporter.report(batch))


async def test_a_report_that_cannot_be_delivered_is_kept_and_never_computed_again(bench: Bench):
    bench.add("t1")
    await compute_only(bench, then=503)
    assert await bench.states() == {"t1": "kept"}
    bench.clock.now += 16
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert bench.processors.texts == ["hello"]
    assert len(set(bench.upstream.bodies["t1"][1:])) == 1


async def test_the_pause_between_reports_grows_to_ten_minutes_and_no_longer(bench: Bench):
    bench.add("t1")
    await compute_only(bench, then=503)
    pauses: list[float] = []
    for _ in range(12):
        row = (await bench.rows())["t1"]
        due = row["lease_until"] + 5
        pauses.append(due - bench.clock.now)
        bench.clock.now = due + 0.001
        bench.upstream.fail_next(503, 503, 503, on="report")
        await bench.drain()
    assert pauses[0] <= 15
    assert 300 <= pauses[-1] <= 600
    assert await bench.states() == {"t1": "kept"}


async def test_a_conflict_is_recorded_and_not_retried(bench: Bench):
    bench.add("t1")
    await compute_only(bench, then=409, tries=1)
    assert await bench.states() == {"t1": "conflict"}
    bench.clock.now += 10_000
    await bench.drain()
    assert len(bench.upstream.bodies["t1"]) == 2


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refused_report_is_a_dead_letter(bench: Bench, status: int):
    bench.add("t1")
    await compute_only(bench, then=status, tries=1)
    row = (await bench.rows())["t1"]
    assert (row["state"], row["dead_code"]) == ("dead", "report_refused")


async def test_an_upstream_that_locks_us_out_stops_the_shift_and_loses_nothing(bench: Bench):
    bench.add("t1")
    with pytest.raises(Unauthorized):
        await compute_only(bench, then=401, tries=1)
    row = (await bench.rows())["t1"]
    assert (row["state"], row["lease_until"]) == ("kept", 0)
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert bench.processors.texts == ["hello"]


async def test_a_lock_out_on_processing_releases_the_claims(bench: Bench):
    for number in range(5):
        bench.add(f"t{number}")
    bench.upstream.fail_next(401, on="report")
    with pytest.raises(Unauthorized):
        await bench.drain()
    await bench.drain()
    assert all(states == DONE for states in bench.upstream.states.values())
    assert len(bench.upstream.states) == 5


async def test_after_the_acknowledgement_only_what_describes_the_result_stays(bench: Bench):
    bench.add("t1")
    await bench.drain()
    rows = await bench.documents.get(ROWS, [(await bench.rows())["t1"]["_id"]], with_payload=True)
    (row,) = rows.values()
    assert "payload" not in row
    assert row["result"] == {"model": "m", "provider": "fake"}
    assert row["usage"] == {"tokens": 5}
    assert "task_json" not in row
    assert len(row["body_hash"]) == 64


# Listed again


async def test_a_task_listed_again_gets_the_kept_result_once_per_lease_time(bench: Bench):
    bench.add("t1")
    await bench.drain()
    bench.upstream.relist("t1")
    poller = await bench.drain()
    assert poller.held.tally.resent == 1
    bench.upstream.relist("t1")
    assert (await bench.drain()).held.tally.resent == 0
    bench.clock.now += 61
    assert (await bench.drain()).held.tally.resent == 1
    assert bench.processors.texts == ["hello"]
    assert len(set(bench.upstream.bodies["t1"][1:])) == 1


async def test_an_upstream_that_lost_the_report_gets_processing_and_the_same_report(bench: Bench):
    bench.add("t1")
    await bench.drain()
    first = bench.upstream.bodies["t1"][-1]
    bench.upstream.relist("t1", forgets=True)
    await bench.drain()
    assert bench.upstream.tasks["t1"].state == "succeeded"
    assert bench.upstream.bodies["t1"][-1] == first
    assert bench.processors.texts == ["hello"]


async def test_a_failure_listed_again_is_reported_again(bench: Bench):
    bench.add("t1", type="no_such_type")
    await bench.drain()
    bench.upstream.relist("t1", forgets=True)
    await bench.drain()
    assert bench.upstream.bodies["t1"][0] == bench.upstream.bodies["t1"][1]


async def test_a_result_past_its_time_is_computed_again_as_a_new_generation(bench: Bench):
    bench.add("t1")
    await bench.drain()
    bench.clock.now += 1801
    await bench.ledger().purge()
    assert await bench.documents.count(RESULTS, {}) == 0
    bench.upstream.relist("t1", forgets=True)
    await bench.drain()
    assert bench.processors.texts == ["hello", "hello"]
    assert (await bench.rows())["t1"]["generation"] == 2


async def test_other_content_under_an_id_is_a_new_generation_of_work(bench: Bench):
    bench.add("t1", "one")
    await bench.drain()
    bench.add("t1", "two")
    bench.upstream.tasks["t1"].state = "pending"
    await bench.drain()
    assert bench.processors.texts == ["one", "two"]
    assert (await bench.rows())["t1"]["generation"] == 2


async def test_an_unfinished_task_whose_content_changes_is_never_reported(bench: Bench):
    bench.add("t1", "one")
    await compute_only(bench, then=503)
    bench.add("t1", "two")
    bench.upstream.tasks["t1"].state = "pending"
    poller = await bench.drain()
    assert poller.held.tally.superseded == 1
    bench.clock.now += 10_000
    await bench.drain()
    assert last_report(bench, "t1")["result"]["echo"] == "TWO"


# Several pollers


async def test_two_pollers_never_process_one_task(bench: Bench):
    for number in range(60):
        bench.add(f"t{number}", f"text {number}")
    await asyncio.gather(
        bench.drain(batch_max_tasks=16),
        bench.drain(batch_max_tasks=16),
        bench.drain(batch_max_tasks=16),
    )
    assert sorted(bench.processors.texts) == sorted(f"text {n}" for n in range(60))
    assert all(states == DONE for states in bench.upstream.states.values())


async def test_a_claim_is_taken_over_when_its_lease_has_run_out(bench: Bench):
    bench.add("t1")
    lost = bench.poller()
    await lost.held.ledger.prepare()
    batch = await lost.collector.collect()
    await bench.drain()
    assert bench.upstream.states == {"t1": ["processing"]}
    bench.clock.now += 64.9
    await bench.drain()
    assert bench.upstream.states == {"t1": ["processing"]}
    bench.clock.now += 0.2
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert len(bench.upstream.bodies["t1"]) == 2, "`processing` was acknowledged before"
    # The poller that had lost it wakes up: its result is neither kept nor reported.
    await asyncio.gather(lost.computer.compute(batch), lost.reporter.report(batch))
    assert len(bench.upstream.bodies["t1"]) == 2
    assert lost.held.tally.lost_leases == 1


async def test_a_poller_that_stood_still_does_not_report_what_another_has_taken(bench: Bench):
    bench.add("t1")
    slow = bench.poller()
    await slow.held.ledger.prepare()
    batch = await slow.collector.collect()
    await slow.computer.compute(batch)
    assert await bench.states() == {"t1": "kept"}
    bench.clock.now += 70
    await bench.drain()
    await slow.reporter.report(batch)
    assert len(bench.upstream.bodies["t1"]) == 2
    assert bench.processors.texts == ["hello"]


async def test_renewed_leases_are_not_taken_over(bench: Bench):
    bench.add("t1")
    busy = bench.poller()
    await busy.held.ledger.prepare()
    await busy.collector.collect()
    for _ in range(5):
        bench.clock.now += 50
        await busy.held.renew()
        await bench.drain()
    assert bench.upstream.states == {"t1": ["processing"]}


async def test_a_claim_whose_processing_was_not_acknowledged_sends_it_again(bench: Bench):
    bench.add("t1")
    bench.upstream.fail_next(503, 503, 503, on="report")
    await bench.drain()
    assert await bench.states() == {"t1": "claimed"}
    bench.clock.now += 31
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}


async def test_an_acknowledgement_lost_in_a_crash_is_read_from_the_conflict(bench: Bench):
    bench.add("t1")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    await poller.collector.collect()
    (row,) = (await bench.rows()).values()
    changed = Change(set={"state": RowState.CLAIMED, "lease_until": 0})
    await bench.documents.update(ROWS, [Update(row["_id"], changed)])
    bench.upstream.fail_next(409, on="report")
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}


@pytest.mark.parametrize("status", [404, 409])
async def test_a_task_somebody_else_took_is_left_to_them(bench: Bench, status: int):
    bench.add("t1")
    bench.upstream.refuse_reports("t1", status)
    poller = await bench.drain()
    assert await bench.states() == {"t1": "conflict"}
    assert (poller.held.tally.conflicts, bench.processors.texts) == (1, [])


async def test_a_claim_the_upstream_refuses_is_a_dead_letter_and_stays_one(bench: Bench):
    bench.add("t1")
    bench.add("t2")
    bench.upstream.refuse_reports("t1", 422)
    await bench.drain()
    assert (await bench.rows())["t1"]["dead_code"] == "claim_refused"
    assert bench.upstream.states == {"t2": DONE}


# Stopping


async def test_what_is_held_at_the_end_is_released_at_once(bench: Bench):
    bench.add("t1")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    with pytest.raises(RuntimeError, match="cancelled"):
        async with poller.holding():
            await poller.collector.collect()
            raise RuntimeError("cancelled")
    assert (await bench.rows())["t1"]["lease_until"] == 0
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert len(bench.upstream.bodies["t1"]) == 2


async def test_a_cancelled_drain_ends_and_releases_everything(bench: Bench):
    for number in range(30):
        bench.add(f"t{number}", f"text {number}")
    bench.upstream.delay_s = 0.05
    running = asyncio.create_task(bench.drain(batch_max_tasks=8))
    await asyncio.sleep(0.4)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    held = await bench.documents.find(ROWS, {"lease_until": {"$gt": 0}})
    assert held == []
    bench.upstream.delay_s = 0
    await bench.drain()
    assert sorted(bench.upstream.states) == sorted(f"t{n}" for n in range(30))
    assert all(task.state == "succeeded" for task in bench.upstream.tasks.values())


async def test_intake_is_paused_by_a_flag_in_the_store(bench: Bench):
    ledger = bench.ledger()
    assert not await ledger.is_paused()
    await ledger.set_paused(is_paused=True)
    assert await bench.ledger().is_paused()
    await ledger.set_paused(is_paused=False)
    assert not await ledger.is_paused()


async def test_a_page_that_cannot_be_read_is_an_outage(bench: Bench):
    bench.upstream.answer_next(b"<html>down</html>", on="pending")
    bench.upstream.answer_next(b"<html>down</html>", on="pending")
    bench.upstream.answer_next(b"<html>down</html>", on="pending")
    with pytest.raises(Unavailable):
        await bench.drain()


async def test_what_was_claimed_is_computed_though_the_next_page_fails(bench: Bench):
    bench.add("t1")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    html = b"<html>down</html>"
    bench.upstream.misbehave_next("loses_its_answer", on="report")

    async def collect() -> Any:
        collecting = asyncio.create_task(poller.collector.collect())
        while bench.upstream.states.get("t1") != ["processing"]:
            await asyncio.sleep(0.001)
        for _ in range(3):
            bench.upstream.answer_next(html, on="pending")
        return await collecting

    async with poller.holding():
        batch = await collect()
        assert (batch.size, type(poller.held.trouble).__name__) == (1, "BadAnswer")
        await asyncio.gather(poller.computer.compute(batch), poller.reporter.report(batch))
    assert bench.upstream.tasks["t1"].state == "succeeded"


# Dead letters


async def replay(bench: Bench, **which: Any) -> None:
    poller = bench.poller()
    ledger = poller.held.ledger
    dead_letters = [row["_id"] for row in await ledger.dead_letters.find(limit=100, **which)]

    async def collect() -> Any:
        batch = await poller.replayer.recall(dead_letters)
        dead_letters.clear()
        return batch

    async with poller.holding():
        await drain(collect, poller.process)


async def test_a_refused_report_is_replayed_as_it_was_kept(bench: Bench):
    bench.add("t1")
    await compute_only(bench, then=400, tries=1)
    await replay(bench)
    assert bench.processors.texts == ["hello"]
    assert bench.upstream.tasks["t1"].state == "succeeded"
    assert bench.upstream.bodies["t1"][1] == bench.upstream.bodies["t1"][-1]
    assert (await bench.rows())["t1"].get("dead_code") is None


async def test_a_failed_task_is_replayed_by_computing_it_again(bench: Bench):
    bench.processors.faults["hello"] = [ComputeFailed("odd", "x")] * 4
    bench.add("t1")
    await bench.drain()
    bench.upstream.tasks["t1"].state = "pending"
    bench.upstream.tasks["t1"].report = None
    await replay(bench, ids=["t1"])
    assert bench.upstream.tasks["t1"].state == "succeeded"
    row = (await bench.rows())["t1"]
    assert (row["state"], row.get("dead_code"), row["outcome"]) == ("reported", None, "succeeded")


async def test_a_dead_letter_the_upstream_does_not_take_back_stays(bench: Bench):
    bench.processors.faults["hello"] = [ComputeFailed("odd", "x")] * 4
    bench.add("t1")
    await bench.drain()
    await replay(bench, code="odd")
    row = (await bench.rows())["t1"]
    assert (row["dead_code"], row["replay_refused"]["code"]) == ("odd", "conflict")
    assert row["replay_refused"]["status"] == 409
    assert bench.upstream.tasks["t1"].state == "failed"
    assert bench.processors.texts == ["hello"] * 4


async def test_only_the_dead_letters_asked_for_are_replayed(bench: Bench):
    for task_id in ("t1", "t2"):
        bench.add(task_id, type=f"no_{task_id}")
    await bench.drain()
    ledger = bench.ledger()
    assert [row["task_id"] for row in await ledger.dead_letters.find(ids=["t2"], limit=9)] == ["t2"]
    assert await ledger.dead_letters.find(code="odd", limit=9) == []
    assert len(await ledger.dead_letters.find(code="unknown_type", limit=1)) == 1


async def test_a_replay_killed_after_processing_is_taken_up_by_the_next(bench: Bench):
    bench.add("t1")
    await compute_only(bench, then=400, tries=1)
    ledger = bench.ledger()
    (dead_letter,) = await ledger.dead_letters.find(limit=1)
    (dead_letter,) = await ledger.dead_letters.read([dead_letter["_id"]])
    await ledger.dead_letters.revive(dead_letter, parse_entry(dead_letter["task_json"]), "m")
    bench.clock.now += 66
    bench.upstream.fail_next(409, on="report")
    await replay(bench)
    assert bench.upstream.tasks["t1"].state == "succeeded"


async def test_a_dead_letter_that_is_being_replayed_is_left_alone_by_pollers(bench: Bench):
    bench.add("t1", type="no_such_type")
    await bench.drain()
    bench.clock.now += 61
    ledger = bench.ledger()
    (dead_letter,) = await ledger.dead_letters.find(limit=1)
    await ledger.dead_letters.revive(dead_letter, parse_entry(dead_letter["task_json"]), "m")
    bench.upstream.relist("t1", forgets=True)
    assert (await bench.drain()).held.tally.resent == 0


async def test_dead_letters_that_are_never_taken_back_do_not_hide_the_others(bench: Bench):
    for task_id in ("t1", "t2"):
        bench.add(task_id)
        bench.upstream.refuse_reports(task_id, 422)
    await bench.drain()
    ledger = bench.ledger()
    (first,) = await ledger.dead_letters.find(limit=1)
    bench.clock.now += 1
    await replay(bench, ids=[first["task_id"]])
    (second,) = await ledger.dead_letters.find(limit=1)
    assert first["task_id"] != second["task_id"]


# Faults that hide well


async def test_a_lost_answer_to_processing_is_not_read_as_somebody_elses(bench: Bench):
    bench.add("t1")
    bench.upstream.misbehave_next("loses_its_answer", on="report")
    bench.upstream.fail_next(409, on="report")
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}


async def test_a_dead_letter_that_is_delivered_after_all_is_none_any_more(bench: Bench):
    bench.add("t1")
    bench.upstream.refuse_reports("t1", 422)
    await bench.drain()
    bench.upstream.refuse_reports("t1", None)
    bench.clock.now += 61
    await bench.drain()
    assert bench.upstream.states == {"t1": DONE}
    assert await bench.ledger().dead_letters.find(limit=9) == []


@pytest.mark.parametrize("depth", [150, 900, 960, 1000, 20_000])
@pytest.mark.parametrize("place", ["data", "callbackParams"])
async def test_nesting_too_deep_fails_alone_even_across_a_crash(
    bench: Bench, depth: int, place: str
):
    deep = b'{"x": ' * depth + b"1" + b"}" * depth
    rest = b'"data": {"text": "x"}, ' if place != "data" else b""
    encoded = b'{"id": "deep", "type": "echo", %s"callbackRoute": "r", "%s": %s}' % (
        rest,
        place.encode(),
        deep,
    )
    bench.upstream.add_raw({"id": "deep", "type": "echo"}, encoded)
    bench.upstream.fail_next(503, 503, 503, on="report")
    await bench.drain()
    bench.add("good")
    bench.clock.now += 100
    await bench.drain()
    assert bench.upstream.states == {"deep": ["failed"], "good": DONE}


@pytest.mark.parametrize("odd", ["a set", "no result", "an index too high", "an answer too many"])
async def test_an_odd_answer_of_a_processor_costs_its_neighbours_nothing(bench: Bench, odd: str):
    answer = {
        "a set": Finished(1, {"x": {1, 2}}),
        "no result": Finished(1),
        "an index too high": Finished(99, {"x": 1}),
        "an answer too many": Finished(0, {"x": "second"}),
    }[odd]
    real = bench.processors.process

    async def process(
        task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        async for finished in real(task_type, group, inputs):
            yield [output for output in finished if output.index != 1]
        if len(inputs) > 1:
            yield [answer]

    bench.processors.process = process
    bench.add("t0", "zero")
    bench.add("t1", "one")
    bench.add("t2", "two")
    await bench.drain()
    assert bench.upstream.states == {f"t{number}": DONE for number in range(3)}
    assert all(
        b"second" not in body for bodies in bench.upstream.bodies.values() for body in bodies
    )


async def test_content_that_comes_back_is_not_answered_with_what_came_between(bench: Bench):
    bench.add("t1", "one")
    first = bench.poller()
    await first.held.ledger.prepare()
    await first.collector.collect()
    bench.add("t1", "two")
    second = bench.poller()
    batch = await second.collector.collect()
    bench.add("t1", "one")
    await bench.drain()
    await asyncio.gather(second.computer.compute(batch), second.reporter.report(batch))
    assert last_report(bench, "t1")["result"]["echo"] == "ONE"
    assert len({body for body in bench.upstream.bodies["t1"] if b"echo" in body}) == 1


async def test_new_content_the_upstream_then_refuses_does_not_cost_the_work_under_way(bench: Bench):
    bench.add("t1", "one")
    working = bench.poller()
    await working.held.ledger.prepare()
    batch = await working.collector.collect()
    bench.add("t1", "two")
    bench.upstream.fail_next(409, on="report")
    other = bench.poller()
    await other.collector.collect()
    bench.upstream.tasks["t1"].state = "processing"
    await asyncio.gather(working.computer.compute(batch), working.reporter.report(batch))
    assert last_report(bench, "t1")["result"]["echo"] == "ONE"
    assert bench.upstream.tasks["t1"].state == "succeeded"


async def test_what_a_killed_poller_left_of_older_content_is_never_reported(bench: Bench):
    bench.add("t1", "one")
    killed = bench.poller()
    await killed.held.ledger.prepare()
    await killed.collector.collect()
    bench.add("t1", "two")
    half_killed = bench.poller()
    await half_killed.collector.collect()
    changed = Change(set={"state": RowState.PROCESSING, "lease_until": 0})
    rows = await bench.documents.find(ROWS, {})
    await bench.documents.update(ROWS, [Update(row["_id"], changed) for row in rows])
    await bench.drain()
    assert bench.processors.texts == ["two"]
    assert last_report(bench, "t1")["result"]["echo"] == "TWO"


async def test_settling_beside_a_renewal_loses_no_lease(bench: Bench):
    bench.add("t1")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    batch = await poller.collector.collect()
    await poller.computer.compute(batch)
    await asyncio.gather(poller.held.ledger.reports.conflicted(batch.work), poller.held.renew())
    assert poller.held.tally.lost_leases == 0
    assert (await bench.rows())["t1"]["lease_until"] == 0


async def test_a_blocked_head_is_looked_past_after_the_fall_back_to_small_pages(bench: Bench):
    bench.upstream.max_limit = 20
    for number in range(10):
        bench.upstream.add_raw({"type": "echo", "number": number})
    bench.add("good")
    await bench.drain(poll_limit=50)
    await bench.drain(poll_limit=50)
    assert bench.upstream.states == {"good": DONE}


async def test_a_wait_of_hours_that_comes_with_a_503_is_cut_to_ten_minutes(bench: Bench):
    bench.add("t1")
    poller = bench.poller()
    await poller.held.ledger.prepare()
    async with poller.holding():
        batch = await poller.collector.collect()
        bench.upstream.fail_next(503, on="report", retry_after=86_400)
        await asyncio.gather(poller.computer.compute(batch), poller.reporter.report(batch))
    due = (await bench.rows())["t1"]["lease_until"] + 5
    assert due - bench.clock.now == pytest.approx(600)


# Housekeeping


async def test_finished_rows_go_after_thirty_days_and_undelivered_ones_stay(bench: Bench):
    bench.add("done")
    await bench.drain()
    bench.add("refused")
    await compute_only(bench, then=400, tries=1)
    bench.clock.now += 29 * 86_400
    await bench.ledger().purge()
    assert set(await bench.states()) == {"done", "refused"}
    bench.clock.now += 2 * 86_400
    await bench.ledger().purge()
    assert set(await bench.states()) == {"refused"}


async def test_the_overview_counts_what_an_operator_asks_about(bench: Bench):
    bench.add("done")
    bench.add("bad", type="no_such_type")
    await bench.drain()
    bench.add("held")
    poller = bench.poller()
    await poller.collector.collect()
    overview = await bench.ledger().overview()
    assert overview.states == {"reported": 2, "processing": 1}
    assert (overview.held, overview.expired, overview.waiting) == (1, 0, 0)
    assert (overview.dead, overview.is_paused) == ({"unknown_type": 1}, False)
    bench.clock.now += 66
    assert (await bench.ledger().overview()).expired == 1
