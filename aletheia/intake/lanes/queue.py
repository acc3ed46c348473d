"""The queue of a lane: handing tasks over, and finding those that come next."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aletheia.documents import Change, Document, Documents
from aletheia.intake.counting import IN_LANE
from aletheia.intake.models import Claim, RowState, Task
from aletheia.intake.rows import ROWS, Rows

MAX_CANDIDATES: Final = 16
"""Rows that are read to take one: others take from the same lane, and are faster at times."""

_LEFT: Final = [RowState.PROCESSING, RowState.WAITING]
_REPORTS: Final[Mapping[str, Any]] = {"state": RowState.KEPT, "origin": None}
"""Reports that workers send. Callbacks that failed are left to the shifts, which send many at once:
receivers that hang would take the place of tasks."""


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
            **self._rows.terms.released,
            **(values or {}),
        }

        def change_for(claim: Claim) -> Change:
            turn = {"turn": turns[claim.row_id], "job": _job_of(claim)}
            own = {"lane": claim.lane, "takes": claim.takes, **turn}
            return Change(set={**common, **own}, unset=["report_error"])

        return await self._rows.move(claims, RowState.QUEUED, change_for)

    async def count_waiting(self, lane: str) -> int:
        """Count the tasks that wait in a lane."""
        return await self._documents.count(ROWS, {"lane": lane, "state": {"$in": list(IN_LANE)}})

    async def has_work(self, lane: str, types: Sequence[str]) -> bool:
        """Return whether a worker that computes these types would find anything to take."""
        of_types = {"lane": lane, "type": {"$in": list(types)}}
        if await self._documents.count(ROWS, {**of_types, "state": RowState.QUEUED}):
            return True
        left = {**of_types, "state": {"$in": _LEFT}, **self._ended()}
        if await self._documents.count(ROWS, left):
            return True
        return bool(await self._documents.count(ROWS, {**of_types, **_REPORTS, **self._ended()}))

    async def take(
        self,
        lane: str,
        types: Sequence[str],
        limit: int,
        take_rows: Callable[[Sequence[Document]], Awaitable[list[Claim]]],
        *,
        is_idle: bool = True,
    ) -> list[Claim]:
        """Take what comes next in a lane: reports due, what a worker left, whose turn it is.

        What a worker came to no end with may be what ended it. So that nothing else is counted for
        that, it is taken by one that has nothing else in hand, and the others take nothing before.

        Args:
            lane: the lane.
            types: the task types that are computed here; others are left to others.
            limit: how many to take.
            take_rows: claims rows as they were read.
            is_idle: whether who takes has nothing in hand.
        """
        of_types = {"lane": lane, "type": {"$in": list(types)}}
        count = limit + MAX_CANDIDATES

        async def find(sort: str, where: Mapping[str, Any]) -> list[Document]:
            where = {**of_types, **where}
            return await self._documents.find(
                ROWS, where, sort=sort, limit=count, with_payload=True
            )

        async def take(rows: Sequence[Document]) -> list[Claim]:
            left, claims = list(rows), list[Claim]()
            while left and len(claims) < limit - len(taken):
                wanted = limit - len(taken) - len(claims)
                claims += await take_rows(left[:wanted])
                left = left[wanted:]
            return claims

        taken: list[Claim] = []
        taken += await take(await find("lease_until", {**_REPORTS, **self._ended()}))
        if len(taken) < limit:
            left = await find("lease_until", {"state": RowState.PROCESSING, **self._ended()})
            if not is_idle and any(row.get("takes") for row in left):
                return taken
            taken += await take(left)
        if len(taken) < limit:
            over = {"lease_until": {"$lt": self._clock.unix_s()}}
            waiting = await find("turn", {"state": RowState.WAITING, **over})
            rows = [*waiting, *await find("turn", {"state": RowState.QUEUED})]
            taken += await take(sorted(rows, key=lambda row: int(row.get("turn") or 0)))
        return taken

    async def find_misplaced(self, lane: str, types: Sequence[str], limit: int) -> list[Document]:
        """Return tasks of types that nobody in a lane computes, which were left to it all the same.

        They were handed over before a type went to another lane.
        """
        found: list[Document] = []
        for state in (RowState.QUEUED, RowState.WAITING, RowState.PROCESSING):
            ended: Mapping[str, Any] = {} if state is RowState.QUEUED else self._ended()
            where = {"lane": lane, "state": state, "type": {"$in": list(types)}, **ended}
            left = limit - len(found)
            if types and left > 0:
                found += await self._documents.find(ROWS, where, limit=left, with_payload=True)
        return found

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
        served = [await self._find_turn(state, {"lane": lane}) for state in IN_LANE]
        # What waits for something else may be of long ago: it is what is served if it is all.
        now = next((turn for turn in served if turn is not None), 0)
        of_job = {"lane": lane, "job": job}
        last = [await self._find_turn(state, of_job, is_last=True) for state in IN_LANE]
        return max(now, *(turn + 1 for turn in last if turn is not None), 0)

    async def _find_turn(
        self, state: RowState, where: Mapping[str, Any], *, is_last: bool = False
    ) -> int | None:
        """Return the first turn, or the last one, of rows in a state; `None` if there is none."""
        found = await self._documents.find(
            ROWS, {**where, "state": state}, sort="turn", descending=is_last, limit=1
        )
        return int(found[0].get("turn") or 0) if found else None


async def find_oldest_waiting(documents: Documents, lane: str) -> float | None:
    """Return when the oldest task that waits in a lane was claimed, Unix time, seconds."""
    waiting = {"lane": lane, "state": {"$in": list(IN_LANE)}}
    found = await documents.find(ROWS, waiting, sort="claimed_at", limit=1)
    return float(found[0]["claimed_at"]) if found else None


def _job_of(claim: Claim) -> str:
    task = claim.entry.task
    return task.job_id if isinstance(task, Task) else ""
