"""A shift: when a poller polls, until its time is over (SPEC §1, Shifts)."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from aletheia.documents import Documents
from aletheia.errors import AletheiaError, BreakerOpen, Refused, Unauthorized, Unavailable
from aletheia.intake.bulk.backlog import TASK_TYPE
from aletheia.intake.bulk.turn import prefers_bulk
from aletheia.intake.held_claims import Batch
from aletheia.intake.models import Collected, ShiftReport
from aletheia.intake.poller import Poller
from aletheia.intake.ports import UPSTREAM

log = logging.getLogger(__name__)

RESUMED_AFTER_S = 1.0
"""A shift that began longer ago than this is one that was interrupted and goes on, seconds."""


class Shift:
    """One run of a poller, step by step; `begin` makes it.

    Whoever runs it calls `next_tick` until it returns `False`, and after each tick `collect` and
    `process` until a batch comes back empty.
    """

    def __init__(
        self, poller: Poller, started_at: float, length_s: float, interval_s: float
    ) -> None:
        self.poller, self.ended, self.ticks = poller, "drained", 0
        self._clock = poller.held.ledger.clock
        self._bulk: tuple[Documents, int] | None = None
        self._opened_at, self._began_s = self._clock.unix_s(), self._clock.steady_s()
        # A beginning in the future was written by a clock that was ahead.
        started_at = min(started_at, self._opened_at)
        self._is_resumed = started_at < self._opened_at - RESUMED_AFTER_S
        self._ends_at = started_at + length_s
        self._drains_once = length_s <= 0
        self._interval_s, self._next_tick_at, self._purged_at = interval_s, 0.0, float("-inf")
        self._was_away = True  # until the upstream answers: an earlier shift may have met an outage
        self._batches: dict[int, Batch] = {}
        self._collected = 0

    @classmethod
    async def begin(
        cls,
        poller: Poller,
        run_id: str,
        *,
        length_s: float,
        interval_s: float,
        bulk: tuple[Documents, int] | None = None,
    ) -> Self:
        """Begin the shift of a run; a resumed run goes on with the one it began first.

        It lasts `length_s` from its first beginning, or polls once if that is 0. `bulk` is the
        store and `OPENAI_BULK_ABOVE`, where texts may be left to the bulk lane.
        """
        ledger = poller.held.ledger
        await ledger.prepare()
        await ledger.correct_gauges()
        shift = cls(poller, await ledger.shift_start(run_id), length_s, interval_s)
        shift._bulk = bulk
        return shift

    @property
    def seconds(self) -> float:
        """How long this process has been at work on it, seconds."""
        return self._clock.steady_s() - self._began_s

    def report(self) -> ShiftReport:
        """Return what the shift did so far."""
        return ShiftReport(
            ended=self.ended,
            seconds=round(self.seconds, 3),
            ticks=self.ticks,
            tally=self.poller.held.tally,
        )

    async def find_trouble(self) -> AletheiaError | None:
        """Return what is in the way now: an outage, or reports that nobody acknowledges."""
        held = self.poller.held
        return held.trouble or await held.ledger.reports.find_trouble()

    async def next_tick(self, rest: Callable[[float], Awaitable[object]]) -> bool:
        """Wait, in sleeps by `rest`, until it is time to poll; `False` when the shift is over.

        Where `rest` returns `True` there is something to do, and it is time at once.
        """
        while True:
            is_paused = await self.poller.held.ledger.is_paused()
            now = self._now()
            is_begun = self.ticks > 0 or self._is_resumed or is_paused
            if now >= self._ends_at and is_begun:
                if is_paused:
                    self.ended = "paused"
                elif not self.ticks:
                    self.ended = "resumed_late"
                elif not self._drains_once:
                    self.ended = "time_over"
                return False
            if now >= self._next_tick_at and not is_paused:
                if now >= self._purged_at + self._interval_s:
                    self._purged_at = now
                    await self.poller.held.ledger.purge()
                await self._leave_to_bulk()
                self.ticks += 1
                self._next_tick_at = now + self._interval_s
                return True
            due = self._next_tick_at if self._next_tick_at > now else now + self._interval_s
            if await rest(min(due, self._ends_at) - now) is True:
                self._next_tick_at = now

    async def collect(self) -> Collected:
        """Claim the next batch; an upstream out of reach ends the tick, not the shift.

        Raises:
            Unauthorized, Refused: it does not let us in, or has refused every page so far.
        """
        if not await self.is_open():
            return Collected()
        try:
            collected = self._put(await self.poller.collector.collect())
        except (Unavailable, BreakerOpen, Refused) as outage:
            # An upstream that refuses pages from some moment on is being deployed.
            is_new = isinstance(outage, Refused) and not self.poller.held.tally.pages
            if is_new or isinstance(outage, Unauthorized):
                raise
            log.warning("%s; polling again later", outage)
            self.poller.held.troubles[UPSTREAM] = outage
            pause_s = outage.retry_after_s or 0
            if isinstance(outage, BreakerOpen) and outage.until is not None:
                pause_s = outage.until.timestamp() - self._clock.unix_s()
            self._next_tick_at = max(self._next_tick_at, self._now() + pause_s)
            self._was_away = True
            return Collected()
        await self._wake_reports()
        return collected

    async def _wake_reports(self) -> None:
        """Send what waits since the upstream was away with the next tick, which is due now.

        A new shift has new settings, so that it tries what waits for a budget or a limit, too.
        """
        if not self._was_away:
            return
        self._was_away = False
        self.poller.reporter.repeated.flush()
        waking = self.poller.held.ledger.waking
        reports = await waking.wake_reports()
        bounded = await waking.wake_bounded() if self.ticks <= 1 else 0
        if reports or bounded:
            said = "%d reports and %d tasks that wait for a bound are tried now"
            log.info(said, reports, bounded)
            self._next_tick_at = self._now()

    async def is_open(self) -> bool:
        """Return whether anything more may be claimed: there is time left, and no pause."""
        is_out_of_time = not self._drains_once and self._now() >= self._ends_at
        return not (is_out_of_time or await self.poller.held.ledger.is_paused())

    async def process(self, batch: Collected) -> list[int]:
        """Compute and report a batch that was collected, see `Poller.process`."""
        return await self.poller.process(self._batches.pop(batch.number))

    async def find_dead_letters(
        self, ids: Sequence[str] | None, code: str | None, limit: int
    ) -> list[list[str]]:
        """Find the dead letters to replay; return the ids of their rows, batch by batch."""
        held = self.poller.held
        found = await held.ledger.dead_letters.find(ids=ids, code=code, limit=limit)
        row_ids = [row["_id"] for row in found]
        return [row_ids[start : start + held.batch] for start in range(0, len(row_ids), held.batch)]

    async def recall(self, row_ids: Sequence[str]) -> Collected:
        """Ask the upstream to take dead letters back; return the batch of those that it took."""
        return self._put(await self.poller.replayer.recall(row_ids))

    def _now(self) -> float:
        """Return Unix time by a clock that nobody sets while the shift lasts, seconds."""
        return self._opened_at + self.seconds

    def _put(self, batch: Batch) -> Collected:
        self._collected += 1
        if batch.size:
            self._batches[self._collected] = batch
        return Collected(number=self._collected, size=batch.size)

    async def _leave_to_bulk(self) -> None:
        """Leave texts to the bulk lane as long as there are enough for it, and it takes them."""
        if self._bulk is None:
            return
        documents, above = self._bulk
        try:
            is_left = await prefers_bulk(
                self.poller.upstream, documents, above=above, now_s=self._clock.unix_s()
            )
        except (Unavailable, BreakerOpen) as outage:
            log.warning("how much is pending is not known: %s", outage)
            return
        self.poller.held.left_alone = frozenset({TASK_TYPE} if is_left else ())
        if is_left:
            log.info("more than %d tasks are pending: texts are left to bulk_embed", above)
