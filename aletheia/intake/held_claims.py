"""The claims a poller has in hand, what defers others, and what it has done."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aletheia.errors import AletheiaError, BudgetExceeded, Deferred, RateLimited, Unavailable
from aletheia.intake.forbidden import Forbidden
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import Claim, Tally
from aletheia.intake.rows import MAX_DEFERRAL_S
from aletheia.logs import about_task
from aletheia.settings import LOCAL_BATCH_TASKS

log = logging.getLogger(__name__)

MAX_RETRIES: Final = 20
"""However many a task asks for: with their pauses they come to a quarter of an hour."""

GRACE_S: Final = 10.0
"""How long after `HeldClaims.stop` what is held is still computed and reported, seconds."""


@dataclass(slots=True)
class Batch:
    """Claims that are computed together, and the channel from computing to reporting."""

    work: list[Claim] = field(default_factory=list[Claim])  # to compute
    ready: list[Claim] = field(default_factory=list[Claim])  # have their report already
    taken: list[Claim] = field(default_factory=list[Claim])  # all, while it was collected
    traceparent: str | None = None  # of the span that collected it
    # sets whose reports are kept and may be sent; `None` is the end
    kept: "asyncio.Queue[list[Claim] | None]" = field(
        default_factory=asyncio.Queue[list[Claim] | None]
    )

    @property
    def size(self) -> int:
        """How many claims there are to compute or to report."""
        return len(self.work) + len(self.ready)


class HeldClaims:
    """The claims of one poller; `batch` is how many are computed together, at most."""

    def __init__(self, ledger: Ledger, batch: int = LOCAL_BATCH_TASKS) -> None:
        self.ledger, self.settings, self.tally = ledger, ledger.settings, Tally()
        self.batch = self.settings.batch_max_tasks or batch
        self.troubles: dict[str, AletheiaError] = {}  # in the way now, by what is out of order
        self.left_alone: frozenset[str] = frozenset()  # task types that another lane takes
        # To send a report; what is to be checked before is checked when its turn has come.
        self.turns = asyncio.Semaphore(self.settings.concurrency_limit)
        self.forbidden = Forbidden(self.troubles)
        self._clock = ledger.clock
        self._stopped_at: float | None = None
        self._claims: dict[str, Claim] = {}
        self._claiming: set[asyncio.Task[Sequence[Claim]]] = set()
        self._deferred: dict[tuple[str, str], float] = {}

    @property
    def trouble(self) -> AletheiaError | None:
        """The outage that is in the way now, if one is."""
        return next(iter(self.troubles.values()), None)

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is to be claimed."""
        return self._stopped_at is not None

    @property
    def is_out_of_grace(self) -> bool:
        """Whether nothing more is to be computed or reported either."""
        return self._stopped_at is not None and self._clock.steady_s() >= self._stopped_at + GRACE_S

    def stop(self, *, is_stopping: bool = True) -> None:
        """Claim nothing more, and soon do nothing more; or go on. Idempotent."""
        if not is_stopping:
            self._stopped_at = None
        elif self._stopped_at is None:
            self._stopped_at = self._clock.steady_s()

    @property
    def task_ids(self) -> list[str]:
        """The ids of the tasks in hand, the one claimed first at the head."""
        return [claim.entry.id for claim in self._claims.values()]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims in hand, the one claimed first at the head."""
        return tuple(self._claims.values())

    def __contains__(self, claim: Claim) -> bool:
        return self._claims.get(claim.row_id) is claim

    def has_attempts(self, claim: Claim) -> bool:
        """Return whether a computation of a claim that failed may be tried again."""
        task = claim.task
        retries = self.settings.max_retries if task.max_retries is None else task.max_retries
        return claim.attempts < min(retries - task.retry_count, MAX_RETRIES)

    async def take(
        self, claiming: Coroutine[Any, Any, Sequence[Claim]], batch: Batch | None = None
    ) -> Sequence[Claim]:
        """Hold what a write to the ledger claims, even if we are cancelled while it is written."""

        async def hold() -> Sequence[Claim]:
            claims = await claiming
            self._claims |= {claim.row_id: claim for claim in claims}
            for claim in claims:
                named = about_task(claim.entry.id)
                log.debug("task %r: %s, by us", claim.entry.id, claim.state, extra=named)
            return claims

        writing = asyncio.create_task(hold())
        self._claiming.add(writing)
        writing.add_done_callback(self._claiming.discard)
        claims = await asyncio.shield(writing)
        if batch is not None:
            batch.taken += claims
        return claims

    def drop(self, claims: Sequence[Claim]) -> None:
        """Hold claims no longer; the ledger has them in a state of their own."""
        for claim in claims:
            if claim in self:
                del self._claims[claim.row_id]

    def keep_ours(self, claims: Sequence[Claim], ours: Sequence[Claim]) -> list[Claim]:
        """Drop those of some claims that a write found to be somebody else's by now."""
        still = {claim.row_id for claim in ours}
        self._lose([claim for claim in claims if claim.row_id not in still])
        return list(ours)

    async def renew(self) -> bool:
        """Extend the lease on everything that is held, and drop what is lost."""
        self._lose(await self.ledger.claims.renew(list(self._claims.values())))
        return True

    async def confirm(self, claims: Sequence[Claim]) -> list[Claim]:
        """Return those claims that are ours by the ledger, before their reports are sent.

        A lease that has run out by our own clock is renewed first.
        """
        doubtful = [claim for claim in claims if not self.ledger.claims.is_held(claim)]
        self._lose(await self.ledger.claims.renew(doubtful))
        held = [claim for claim in claims if claim in self]
        return self.keep_ours(held, await self.ledger.claims.still_ours(held))

    async def release(
        self, claims: Sequence[Claim], *, for_s: float = 0, why: AletheiaError | None = None
    ) -> None:
        """Release claims, see `Claims.release`."""
        held = [claim for claim in claims if claim in self]
        self.drop(held)
        await self.ledger.claims.release(held, for_s=for_s, why=why)

    async def release_all(self) -> None:
        """Release everything, also where we are cancelled."""

        async def release() -> None:
            await asyncio.gather(*self._claiming, return_exceptions=True)
            held = list(self._claims.values())
            try:
                await self.release(held)
            except Unavailable as outage:
                log.warning("claims not released, their leases will run out: %s", outage)
            else:
                log.info("released %d claims", len(held))

        await asyncio.shield(release())

    def defer(self, task_type: str, group: str, problem: AletheiaError) -> float:
        """Claim no more tasks of a group for a while; return until when, Unix time."""
        # To ask again costs nothing, and a limit may be raised meanwhile.
        latest = self._clock.unix_s() + MAX_DEFERRAL_S
        pause_s = max(self.settings.polling_interval_seconds, problem.retry_after_s or 0)
        until = min(self._clock.unix_s() + pause_s, latest)
        if isinstance(problem, Deferred) and problem.until is not None:
            until = min(problem.until.timestamp(), latest)
        self._deferred[task_type, group] = self._clock.steady_s() + until - self._clock.unix_s()
        if isinstance(problem, RateLimited | BudgetExceeded):
            self.tally.deferred[group] = str(problem)
        else:
            self.troubles[group] = problem
        return until

    def is_deferred(self, task_type: str, group: str) -> bool:
        """Return whether tasks of a group are to stay pending upstream."""
        if task_type in self.left_alone:
            return True
        return self._deferred.get((task_type, group), 0) > self._clock.steady_s()

    def _lose(self, claims: Sequence[Claim]) -> None:
        lost = [claim for claim in claims if claim in self]
        for claim in lost:
            task_id = claim.entry.id
            said = "task %r: somebody else has taken it over"
            log.warning(said, task_id, extra=about_task(task_id))
        self.tally.lost_leases += len(lost)
        self.drop(lost)
