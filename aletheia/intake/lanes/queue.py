"""The queue of a lane: handing tasks over, and finding those that come next."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aletheia.documents import Change, Document, Documents
from aletheia.intake.models import Claim, RowState, Task
from aletheia.intake.rows import ROWS, Rows

MAX_CANDIDATES: Final = 16
"""Rows that are read to take one: others take from the same lane, and are faster at times."""

_LEASED: Final = [RowState.KEPT, RowState.PROCESSING]


class LaneQueue:
    """The lanes of a ledger, as one holder of rows sees them."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._documents, self._clock = rows, rows.documents, rows.clock

    async def prepare(self) -> None:
        """Make the look-ups fast. Idempotent."""
        await self._documents.ensure_index(ROWS, ["lane", "state", "turn"])

    async def hand_over(
        self, claims: Sequence[Claim], values: Mapping[str, Any] | None = None
    ) -> list[Claim]:
        """Leave claims to the workers of their lanes; return those that were ours.

        `values` is what else to set in their rows.
        """
        if not claims:
            return []
        turns = await self._assign_turns(claims)
        common = {
            "state": RowState.QUEUED,
            "queued_at": self._clock.unix_s(),
            "takes": 0,
            **self._rows.terms.released,
            **(values or {}),
        }

        def change_for(claim: Claim) -> Change:
            own = {"lane": claim.lane, "turn": turns[claim.row_id], "job": _job_of(claim)}
            return Change(set={**common, **own}, unset=["report_error"])

        return await self._rows.move(claims, RowState.QUEUED, change_for)

    async def count_waiting(self, lane: str) -> int:
        """Count the tasks that wait in a lane."""
        waiting = [RowState.QUEUED, RowState.WAITING]
        return await self._documents.count(ROWS, {"lane": lane, "state": {"$in": waiting}})

    async def has_work(self, lane: str, types: Sequence[str]) -> bool:
        """Return whether a worker that computes these types would find anything to take."""
        of_types = {"lane": lane, "type": {"$in": list(types)}}
        if await self._documents.count(ROWS, {**of_types, "state": RowState.QUEUED}):
            return True
        left = {**of_types, "state": {"$in": [*_LEASED, RowState.WAITING]}, **self._ended()}
        return bool(await self._documents.count(ROWS, left))

    async def take(
        self,
        lane: str,
        types: Sequence[str],
        limit: int,
        take_rows: Callable[[Sequence[Document]], Awaitable[list[Claim]]],
    ) -> list[Claim]:
        """Take what comes next in a lane: reports due, what a worker left, waits over, the queue.

        Args:
            lane: the lane.
            types: the task types that are computed here; others are left to others.
            limit: how many to take.
            take_rows: claims rows as they were read.
        """
        now_s, ended = self._clock.unix_s(), self._ended()
        sources: tuple[tuple[dict[str, Any], str], ...] = (
            ({"state": RowState.KEPT, **ended}, "lease_until"),
            ({"state": RowState.PROCESSING, **ended}, "lease_until"),
            ({"state": RowState.WAITING, "lease_until": {"$lt": now_s}}, "lease_until"),
            ({"state": RowState.QUEUED}, "turn"),
        )
        taken: list[Claim] = []
        for where, sort in sources:
            left = await self._documents.find(
                ROWS,
                {"lane": lane, "type": {"$in": list(types)}, **where},
                sort=sort,
                limit=limit - len(taken) + MAX_CANDIDATES,
                with_payload=True,
            )
            while left and len(taken) < limit:
                wanted = limit - len(taken)
                taken += await take_rows(left[:wanted])
                left = left[wanted:]
            if len(taken) >= limit:
                break
        return taken

    def _ended(self) -> Mapping[str, Any]:
        return self._rows.terms.ended_where(self._clock.now())

    async def _assign_turns(self, claims: Sequence[Claim]) -> dict[str, int]:
        """Return the turns of claims, in their order, by the ids of their rows."""
        following: dict[tuple[str, str], int] = {}
        turns: dict[str, int] = {}
        for claim in claims:
            lane, job = str(claim.lane), _job_of(claim)
            if (lane, job) not in following:
                following[lane, job] = await self._next_turn(lane, job)
            turns[claim.row_id] = following[lane, job]
            following[lane, job] += 1
        return turns

    async def _next_turn(self, lane: str, job: str) -> int:
        queued = {"lane": lane, "state": RowState.QUEUED}
        served = await self._documents.find(ROWS, queued, sort="turn", limit=1)
        if not served:
            return 0
        of_job = await self._documents.find(
            ROWS, {**queued, "job": job}, sort="turn", descending=True, limit=1
        )
        last = int(of_job[0]["turn"]) if of_job else -1
        return max(int(served[0]["turn"]), last + 1)


async def find_oldest_waiting(documents: Documents, lane: str) -> float | None:
    """Return when the oldest task that waits in a lane was claimed, Unix time, seconds."""
    waiting = {"lane": lane, "state": {"$in": [RowState.QUEUED, RowState.WAITING]}}
    found = await documents.find(ROWS, waiting, sort="claimed_at", limit=1)
    return float(found[0]["claimed_at"]) if found else None


def _job_of(claim: Claim) -> str:
    task = claim.entry.task
    return task.job_id if isinstance(task, Task) else ""
