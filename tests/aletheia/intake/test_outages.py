"""What an outage of the upstream costs once it is over, and how often it is spoken of."""

import logging

import pytest

from aletheia.adapters.upstream.client import GuardedUpstream
from aletheia.errors import BreakerOpen, Unavailable
from aletheia.intake.models import RowState
from aletheia.intake.poller import Poller
from aletheia.intake.ports import UPSTREAM
from aletheia.intake.reporter import MAX_LINE_CHARS
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.store.clock import SECOND, moment
from tests.aletheia.intake.conftest import Bench
from tests.aletheia.intake.test_shift import DONE, Hours

TASKS = 60
OUTAGE_S = 240.0


class FadingUpstream:
    """An upstream that is away for a while, from the first result on.

    Attributes:
        tries: results that reached it while it was away.
        until: when it is back; `None` before it is away.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.tries: list[str] = []
        self.until: float | None = None

    async def pending(self, limit: int) -> list[object]:
        self._check()
        return await self._bench.client.pending(limit)

    async def report(self, task_id: str, body: bytes) -> None:
        if self.until is None and b"succeeded" in body:
            self.until = self._bench.clock.now + OUTAGE_S
        if self.until is not None and self._bench.clock.now < self.until:
            self.tries.append(task_id)
        self._check()
        await self._bench.client.report(task_id, body)

    def _check(self) -> None:
        if self.until is not None and self._bench.clock.now < self.until:
            raise Unavailable(UPSTREAM, "it does not answer", None, 503)


async def test_the_first_success_after_an_outage_brings_the_rest_at_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="aletheia.intake")
    upstream = FadingUpstream(bench)
    breakers = CircuitBreaker(bench.documents, threshold=5, cooldown_s=30, clock=bench.clock.both)
    guarded = GuardedUpstream(upstream, breakers)
    poller = Poller(guarded, bench.ledger(), bench.processors)
    hours = Hours(bench, poller)
    for number in range(TASKS):
        bench.add(f"t{number}")
    shift = await hours.begin(length_s=1_500)
    over_at: list[float] = []

    def note() -> None:
        if not over_at and list(bench.upstream.states.values()).count(DONE) == TASKS:
            over_at.append(bench.clock.now)

    hours.on_rest = note
    await hours.work(shift)
    assert bench.upstream.states == {f"t{number}": DONE for number in range(TASKS)}
    assert upstream.until is not None
    # At the latest with the second tick: the first one may have asked a moment before.
    assert over_at[0] - upstream.until <= 61
    rows = (await bench.rows()).values()
    assert {row["state"] for row in rows} == {RowState.REPORTED}
    # A try is one that reached the upstream.
    assert sum(row["report_tries"] for row in rows) == len(upstream.tries)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) <= 60  # there were hundreds, one for each task and try
    assert any("more like it" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("fault", ["503", "hangs_up"])
@pytest.mark.parametrize("asks", ["pages", "reports"])
async def test_the_probe_of_a_breaker_reaches_the_upstream_once(
    bench: Bench, fault: str, asks: str
):
    breakers = CircuitBreaker(bench.documents, threshold=1, cooldown_s=30, clock=bench.clock.both)
    guarded = GuardedUpstream(bench.client, breakers)
    bench.add("t1")

    async def ask() -> None:
        if asks == "pages":
            await guarded.pending(10)
        else:
            await guarded.report("t1", b'{"state": "processing"}')

    def break_down() -> None:
        if fault == "503":
            bench.upstream.fail_next(*[503] * 3)
        else:
            bench.upstream.misbehave_next("hangs_up", "hangs_up", "hangs_up")

    def count() -> int:
        return bench.upstream.count("pending") + bench.upstream.count("report")

    break_down()
    with pytest.raises(Unavailable):
        await ask()
    before = count()
    assert before == 3  # once, and two retries
    bench.upstream.forget_faults()
    break_down()
    bench.clock.now += 31
    with pytest.raises(Unavailable):
        await ask()
    assert count() == before + 1
    with pytest.raises(BreakerOpen):
        await ask()
    bench.upstream.forget_faults()
    bench.clock.now += 31
    await ask()
    assert count() == before + 2


async def test_what_a_breaker_refuses_is_no_try(bench: Bench):
    ledger = bench.ledger()
    await ledger.prepare()
    bench.add("t1")
    poller = bench.poller(ledger)
    until = moment(bench.clock.both.now() + 75 * SECOND)

    async def refuse(task_id: str, body: bytes) -> None:
        if b"succeeded" in body:
            raise BreakerOpen(UPSTREAM, until)
        await bench.client.report(task_id, body)

    class Refusing:
        pending = bench.client.pending
        report = staticmethod(refuse)

    poller = Poller(Refusing(), ledger, bench.processors)
    await bench.drain(poller)
    row = (await bench.rows())["t1"]
    assert (row["state"], row["report_tries"]) == (RowState.KEPT, 0)
    waits_s = row["lease_until"] + ledger.rows.terms.skew_s - bench.clock.now
    assert 70 <= waits_s <= 90
    assert poller.held.tally.deferred_reports == 1


async def test_a_report_that_the_upstream_asked_to_wait_is_not_woken(bench: Bench):
    ledger = bench.ledger(report_backoff_seconds=100)
    for task_id in ("limited", "late"):
        bench.add(task_id)
    asked = {"limited": Unavailable(UPSTREAM, "slow down", 300, 429)}

    class Limiting:
        pending = bench.client.pending

        async def report(self, task_id: str, body: bytes) -> None:
            if b"succeeded" in body:
                raise asked.get(task_id, Unavailable(UPSTREAM, "away", None, 503))
            await bench.client.report(task_id, body)

    await bench.drain(Poller(Limiting(), ledger, bench.processors))
    assert await ledger.waking.wake_reports() == 1
    assert await ledger.waking.wake_reports() == 0
    rows = await bench.rows()
    assert rows["limited"]["lease_until"] > bench.clock.now + 200
    assert rows["late"]["lease_until"] <= bench.clock.now


async def test_no_line_of_the_log_is_longer_than_a_page_however_much_is_routed(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="aletheia.intake")
    for number in range(40):
        params = {"secret": "x" * 5_000}
        bench.add(f"t{number}", callbackRoute=f"/r{number}", callbackParams=params)
    await bench.drain()
    lines = [found.getMessage() for found in caplog.records if "reported" in found.getMessage()]
    assert max(map(len, lines)) <= MAX_LINE_CHARS + 100
    assert all(any(f'/r{number}"' in line for line in lines) for number in range(40))
