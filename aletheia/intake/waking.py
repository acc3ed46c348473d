"""What is left alone until later is taken up at once, where that has become possible or is wanted.

An outage makes reports wait ever longer, a budget or a limit makes tasks wait, and a process that
was killed keeps its claims until their leases run out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from aletheia.documents import Change, Document, Update
from aletheia.errors import BudgetExceeded, RateLimited
from aletheia.intake.models import LeaseHolder, RowState
from aletheia.intake.rows import LEASED, ROWS, Rows

MAX_WOKEN: Final = 10_000
"""Rows that are woken at once."""

MAX_HOLDERS: Final = 20
"""Holders of leases that are named."""

BOUNDS: Final = frozenset({BudgetExceeded.code, RateLimited.code})
"""Codes of what a raised budget or limit ends."""

_AS_READ: Final = ("state", "token", "lease_until", "owner")


class Waking:
    """Wakes rows of one store; whoever takes them over next does the rest."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._documents, self._clock = rows, rows.documents, rows.clock

    async def wake_reports(self) -> int:
        """Make reports due that wait for the upstream; return how many.

        For when it answers again after an outage. What it asked to wait for itself waits on.
        """
        now_s = self._clock.unix_s()
        where = {
            "state": {"$in": [RowState.CLAIMED, RowState.KEPT]},
            "owner": None,
            "origin": None,
            "lease_until": {"$gt": now_s},
        }
        return await self._wake(where, lambda row: row.get("asked_until", 0) <= now_s)

    async def wake_bounded(self) -> int:
        """Make tasks due that wait for a budget or a limit; return how many.

        One that still does not suffice makes them wait again, at no cost.
        """
        where = {
            "state": RowState.WAITING,
            "waiting_for.code": {"$in": sorted(BOUNDS)},
            "lease_until": {"$gt": self._clock.unix_s()},
        }
        return await self._wake(where, lambda _: True)

    async def release(self, *, older_than_s: float) -> int:
        """End the leases that somebody took so long ago; return how many.

        A holder that still lives finds out before it sends anything: its claims have gone.
        """
        where = {
            "state": {"$in": LEASED},
            "owner": {"$gt": ""},
        }
        before_s = self._clock.unix_s() - older_than_s
        return await self._wake(where, lambda row: _taken_at(row) < before_s)

    async def list_holders(self) -> tuple[LeaseHolder, ...]:
        """Return who holds leases that have not run out, how many, and until when at the latest."""
        held = {"state": {"$in": LEASED}, "lease_until": {"$gt": self._clock.unix_s()}}
        counted = await self._documents.count_by(ROWS, "owner", held)
        ranked = sorted(counted.items(), key=lambda found: (-found[1], found[0]))[:MAX_HOLDERS]
        return tuple([await self._describe(owner, count, held) for owner, count in ranked])

    async def _describe(self, owner: str, count: int, held: Mapping[str, Any]) -> LeaseHolder:
        last = await self._documents.find(
            ROWS, {**held, "owner": owner}, sort="lease_until", descending=True, limit=1
        )
        until_s = float(last[0]["lease_until"]) if last else self._clock.unix_s()
        return LeaseHolder(owner, count, until_s)

    async def _wake(self, where: Mapping[str, Any], is_due: Callable[[Document], bool]) -> int:
        found = await self._documents.find(ROWS, where, sort="lease_until", limit=MAX_WOKEN)
        released = Change(set=self._rows.released())
        updates = [
            Update(row["_id"], released, {name: row[name] for name in _AS_READ})
            for row in found
            if is_due(row)
        ]
        return sum(await self._documents.update(ROWS, updates)) if updates else 0


def _taken_at(row: Document) -> float:
    """Return when a row was claimed last, Unix time."""
    return float(row.get("taken_at") or row.get("claimed_at") or 0)
