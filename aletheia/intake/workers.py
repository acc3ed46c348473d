"""Who computes tasks: a row for each worker, with a heartbeat (SPEC §3)."""

import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import Unavailable
from aletheia.intake.poller import Poller
from aletheia.store.clock import SYSTEM_CLOCK, Clock
from aletheia.store.lease import renewing

WORKERS: Final = "aletheia_workers"

KEPT_S: Final = 86_400.0
"""How long a worker that is gone is listed, seconds."""

MAX_TASKS_SHOWN: Final = 20
MAX_LISTED: Final = 200

log = logging.getLogger(__name__)


class Worker(BaseModel, frozen=True):
    """A poller or a lane's worker, as its last heartbeat described it."""

    id: str  # host, process and run
    lane: str
    types: tuple[str, ...]  # what it can compute
    state: Literal["idle", "working", "ended", "lost"]  # `lost`: without an end, and without a word
    tasks: tuple[str, ...]  # ids of those it holds, the first ones
    succeeded: int
    failed: int
    since: datetime
    seen_at: datetime


class Workers:
    """The workers of one store."""

    def __init__(self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._documents, self._clock = documents, clock

    async def newest(self, *, limit: int = MAX_LISTED) -> list[Worker]:
        """Return the workers that were heard of last, the latest first."""
        rows = await self._documents.find(WORKERS, {}, sort="seen_at", descending=True, limit=limit)
        now_s = self._clock.unix_s()
        return [_read(row, now_s) for row in rows]

    @contextlib.asynccontextmanager
    async def registered(
        self, poller: Poller, lane: str, types: Sequence[str]
    ) -> AsyncGenerator[None]:
        """Keep the row of a poller up to date until the end of the context."""
        rows = poller.held.ledger.rows
        length_s, since_s = rows.terms.length_s, self._clock.unix_s()

        async def beat(*, is_over: bool = False) -> bool:
            held, now_s = poller.held, self._clock.unix_s()
            tasks = held.task_ids
            values = {
                "lane": lane,
                "types": list(types),
                "is_over": is_over,
                "tasks": tasks[:MAX_TASKS_SHOWN],
                "succeeded": held.tally.succeeded,
                "failed": held.tally.failed,
                "since": since_s,
                "seen_at": now_s,
                "expected_by": now_s + length_s + rows.terms.skew_s,
            }
            await self._documents.upsert(WORKERS, [Update(rows.owner, Change(set=values))])
            return True

        await self._documents.ensure_index(WORKERS, ["seen_at"])
        gone = {"seen_at": {"$lt": since_s - KEPT_S}}
        await self._documents.delete(WORKERS, gone, limit=1000)
        await beat()
        try:
            async with renewing(beat, length_s=length_s, name="worker"):
                yield
        finally:
            try:
                await beat(is_over=True)
            except Unavailable as outage:
                log.warning("the end of a worker is not recorded: %s", outage)


def _read(row: Document, now_s: float) -> Worker:
    state = "working" if row["tasks"] else "idle"
    if row["is_over"]:
        state = "ended"
    elif now_s > row["expected_by"]:
        state = "lost"
    return Worker(
        id=row["_id"],
        lane=row["lane"],
        types=tuple(row["types"]),
        state=state,
        tasks=tuple(row["tasks"]),
        succeeded=int(row["succeeded"]),
        failed=int(row["failed"]),
        since=datetime.fromtimestamp(row["since"], UTC),
        seen_at=datetime.fromtimestamp(row["seen_at"], UTC),
    )
