"""Answers that come late, or of another kind: nothing is sent twice with different results."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from aletheia.errors import AletheiaError, Conflict, InvalidTask, Refused, Unavailable
from aletheia.intake.models import Claim
from aletheia.intake.pipeline import drain
from aletheia.intake.poller import Poller
from aletheia.intake.ports import UPSTREAM, Upstream
from tests.aletheia.intake.conftest import Bench

Answer = Callable[[str, bytes], AletheiaError | None]


@dataclass
class Answering:
    """An upstream whose answers to some reports are changed.

    Attributes:
        inner: the upstream.
        before: what is answered in place of passing a report on.
        after: what is answered once it was passed on.
    """

    inner: Upstream
    before: Answer | None = None
    after: Answer | None = None

    async def pending(self, limit: int) -> list[object]:
        """Pass it on."""
        return await self.inner.pending(limit)

    async def report(self, task_id: str, body: bytes) -> None:
        """Pass it on, or answer it."""
        if self.before is not None and (problem := self.before(task_id, body)):
            raise problem
        await self.inner.report(task_id, body)
        if self.after is not None and (problem := self.after(task_id, body)):
            raise problem


def poller_of(bench: Bench, upstream: Upstream, **changes: int) -> Poller:
    return Poller(upstream, bench.ledger(**changes), bench.processors)


def results(bench: Bench, task_id: str) -> list[bytes]:
    return [body for body in bench.upstream.bodies[task_id] if b"succeeded" in body]


def list_again(bench: Bench, task_id: str, text: str) -> None:
    """Hand an id out once more, with a text of its own."""
    bench.upstream.add(task_id, text, type="echo")
    task = bench.upstream.tasks[task_id]
    task.state, task.digest, task.report = "pending", b"", None


async def test_a_result_that_met_a_conflict_is_the_one_that_is_sent_when_its_task_comes_again(
    bench: Bench,
):
    def conflict(task_id: str, body: bytes) -> AletheiaError | None:
        del task_id
        return Conflict(UPSTREAM, 409, "version") if b"succeeded" in body else None

    bench.add("t")
    await bench.drain(poller_of(bench, Answering(bench.client, after=conflict)))
    assert await bench.states() == {"t": "conflict"}
    bench.clock.now += 100
    bench.upstream.relist("t", forgets=True)
    await bench.drain()

    assert await bench.states() == {"t": "reported"}
    assert len(results(bench, "t")) > 1
    assert len(set(results(bench, "t"))) == 1
    assert bench.processors.computed == [["hello"]]


async def test_a_dead_letter_is_not_replayed_over_newer_work_of_its_id(bench: Bench):
    bench.processors.faults["old"] = [InvalidTask("input_too_long", "too long")]
    bench.add("t", "old")
    await bench.drain()
    bench.clock.now += 1000
    list_again(bench, "t", "new")
    await bench.drain()
    bench.clock.now += 1000
    states = ("pending", "processing", "succeeded", "failed")
    bench.upstream.transitions = {state: {*states[1:]} for state in states}
    sent = len(bench.upstream.bodies["t"])
    poller = bench.poller()
    (dead_letter,) = await poller.held.ledger.dead_letters.find(limit=100)
    async with poller.holding():
        batch = await poller.replayer.recall([dead_letter["_id"]])

    assert batch.size == 0
    assert len(bench.upstream.bodies["t"]) == sent
    (dead_letter,) = await poller.held.ledger.dead_letters.find(limit=100)
    assert dead_letter["replay_refused"]["code"] == "superseded"


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_an_acknowledgement_that_went_unrecorded_loses_no_task(bench: Bench, status: int):
    def refuse(task_id: str, body: bytes) -> AletheiaError | None:
        if b"processing" not in body or bench.upstream.tasks[task_id].state == "pending":
            return None
        kind = Conflict if status == 409 else Refused
        return kind(UPSTREAM, status, "the task is not pending")

    bench.add("t")
    upstream = Answering(bench.client, before=refuse)
    poller = poller_of(bench, upstream)
    await poller.held.ledger.prepare()
    page = await upstream.pending(10)
    assert len(page) == 1
    # What a process leaves behind that is killed between the answer and writing it down.
    left = poller_of(bench, Answering(bench.client, after=_kill))
    with pytest.raises(_Killed):
        await left.collector.collect()
    assert bench.upstream.tasks["t"].state == "processing"
    bench.clock.now += 1000
    await bench.drain(poller)

    assert await bench.states() == {"t": "reported"}
    assert len(results(bench, "t")) == 1


class _Killed(BaseException):
    pass


def _kill(task_id: str, body: bytes) -> AletheiaError | None:
    raise _Killed(task_id, body)


async def test_a_poller_that_stood_still_sends_nothing_that_another_has_taken_over(bench: Bench):
    for number in range(4):
        bench.add(f"t{number}")
    frozen = asyncio.Event()
    others: list[Poller] = []

    def pause(task_id: str, body: bytes) -> AletheiaError | None:
        del task_id
        if b"succeeded" in body and not frozen.is_set():
            frozen.set()
            bench.clock.now += 1000
        return None

    @dataclass
    class Paused(Answering):
        async def report(self, task_id: str, body: bytes) -> None:
            """Take everything over as another poller, while the first report is on its way."""
            was_frozen = frozen.is_set()
            await super().report(task_id, body)
            if frozen.is_set() and not was_frozen:
                others.append(await bench.drain())

    poller = poller_of(bench, Paused(bench.client, after=pause), concurrency_limit=1)
    await poller.held.ledger.prepare()
    async with poller.holding():
        await drain(poller.collector.collect, poller.process)

    assert others[0].held.tally.succeeded == 4
    assert poller.held.tally.succeeded == 0
    assert poller.held.tally.lost_leases == 4
    # The one that was on its way came twice, and was the same.
    sent = [body for number in range(4) for body in results(bench, f"t{number}")]
    assert len(sent) == 5
    assert len(set(sent)) == 4


async def test_of_a_page_longer_than_was_asked_for_no_more_is_taken_than_a_batch(bench: Bench):
    class Generous(Answering):
        async def pending(self, limit: int) -> list[object]:
            """Return everything."""
            del limit
            return await self.inner.pending(100)

    for number in range(60):
        bench.add(f"t{number}")
    poller = poller_of(bench, Generous(bench.client), batch_max_tasks=25)
    await poller.held.ledger.prepare()
    batch = await poller.collector.collect()

    assert batch.size == 25
    assert list((await bench.states()).values()) == ["processing"] * 25
    await poller.held.release_all()


async def test_a_task_that_is_done_leaves_its_routing_data_and_holds_it_once_before(bench: Bench):
    bench.add("t", callbackRoute="route", callbackParams={"to": "ünï"})
    poller = bench.poller()
    await poller.held.ledger.prepare()
    batch = await poller.collector.collect()
    assert "callback_json" not in (await bench.rows())["t"]
    async with poller.holding():
        await poller.process(batch)

    row = (await bench.rows())["t"]
    assert "task_json" not in row
    assert row["callback_json"] == '{"route": "route", "params": {"to": "ünï"}}'


async def test_a_shift_that_is_to_stop_sends_no_further_claim_and_releases_the_rest(
    bench: Bench,
):
    for number in range(30):
        bench.add(f"t{number}")

    def stop(task_id: str, body: bytes) -> AletheiaError | None:
        del task_id, body
        poller.held.stop()
        return None

    poller = poller_of(bench, Answering(bench.client, after=stop), poll_limit=30)
    await poller.held.ledger.prepare()
    async with poller.holding():
        batch = await poller.collector.collect()
        # What was claimed by then is computed and reported, as long as that takes not long.
        await poller.process(batch)

    taken = [task for task in bench.upstream.tasks.values() if task.state != "pending"]
    assert 0 < len(taken) <= bench.settings().concurrency_limit
    assert {task.state for task in taken} == {"succeeded"}
    await bench.drain()
    assert set((await bench.states()).values()) == {"reported"}


async def test_a_shift_that_went_on_after_a_pause_claims_again(bench: Bench):
    bench.add("t")
    poller = bench.poller()
    poller.held.stop()
    await bench.drain(poller)
    assert await bench.states() == {}
    poller.held.stop(is_stopping=False)
    await bench.drain(poller)
    assert await bench.states() == {"t": "reported"}


async def test_a_conflict_with_our_own_report_that_went_unrecorded_is_a_report(bench: Bench):
    async def die(claims: object) -> list[Claim]:
        del claims
        raise Unavailable("store", "it was killed before it wrote the answer down")

    bench.add("t")
    poller = poller_of(bench, bench.client)
    poller.held.ledger.reports.accepted = die  # pyright: ignore[reportAttributeAccessIssue] - a method is replaced by a function
    with contextlib.suppress(Unavailable):
        await bench.drain(poller)
    assert await bench.states() == {"t": "kept"}
    bench.clock.now += 10_000

    def conflict(task_id: str, body: bytes) -> AletheiaError | None:
        del task_id
        return Conflict(UPSTREAM, 409, "it is settled") if b"succeeded" in body else None

    poller = await bench.drain(poller_of(bench, Answering(bench.client, after=conflict)))
    assert await bench.states() == {"t": "reported"}
    assert (poller.held.tally.conflicts, poller.held.tally.succeeded) == (0, 1)
    assert len(set(results(bench, "t"))) == 1
    assert bench.processors.computed == [["hello"]]
