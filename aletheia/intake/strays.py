"""Claims that other pollers seem to hold and do not, since clocks were wrong (SPEC §1, Claims)."""

import logging
from datetime import UTC, datetime
from typing import Final

from aletheia.documents import Change, Document, Update
from aletheia.intake.models import RowState
from aletheia.intake.rows import FLAGS, LEASED, ROWS, Rows
from aletheia.intake.status import ClockAhead
from aletheia.store.lease import RENEWALS_PER_LEASE, Sightings

MAX_WATCHED: Final = 200
"""How many claims of others are watched for standing still, those that end first."""

MAX_WATCHED_S: Final = 3600.0
"""Longest lease that is watched; the bulk lane's lasts for a day, and is not renewed."""

CLOCKS_SHOWN_S: Final = 86_400.0
"""How long it is known that a clock was ahead, seconds."""

log = logging.getLogger(__name__)


class Strays:
    """Finds such claims, now and then."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._documents = rows, rows.documents
        self._sightings = Sightings(rows.clock)
        self._next_search_s = float("-inf")

    async def find(self, limit: int) -> list[Document]:
        """Return rows that nobody holds, whatever their leases say.

        They were leased by a clock that was ahead, or have stood as they are for as long as their
        lease lasts, by our own steady clock.
        """
        steady_s, length_s = self._rows.clock.steady_s(), self._rows.terms.length_s
        if steady_s < self._next_search_s:
            return []
        self._next_search_s = steady_s + length_s / RENEWALS_PER_LEASE
        strays = [*await self._find_leased_ahead(limit), *await self._find_standing()]
        ids = list(dict.fromkeys(row["_id"] for row in strays))[:limit]
        rows = await self._documents.get(ROWS, ids, with_payload=True)
        if rows:
            log.warning("%d claims are held by nobody, whatever their leases say", len(rows))
        return list(rows.values())

    async def find_clock_ahead(self) -> ClockAhead | None:
        """Return the clock that was last found to be ahead of another one, for a day."""
        found = (await self._documents.get(FLAGS, ["clocks"])).get("clocks")
        if found is None or found["seen_at"] < self._rows.clock.unix_s() - CLOCKS_SHOWN_S:
            return None
        seen_at = datetime.fromtimestamp(found["seen_at"], UTC)
        return ClockAhead(found["owner"], found["ahead_s"], seen_at)

    async def _find_leased_ahead(self, limit: int) -> list[Document]:
        now_s, skew_s = self._rows.clock.unix_s(), self._rows.terms.skew_s
        ahead = {"leased_at": {"$gt": now_s + skew_s}, "lease_until": {"$gt": now_s}}
        strays: list[Document] = []
        for state in (*LEASED, RowState.WAITING):
            found = await self._documents.find(ROWS, {"state": state, **ahead}, limit=limit)
            strays += [row for row in found if row["owner"] != self._rows.owner]
        if strays:
            owner, ahead_s = strays[0]["owner"], round(strays[0]["leased_at"] - now_s, 3)
            log.warning("a clock is %.0f s ahead of ours: that of %r", ahead_s, owner)
            values = {"owner": owner or "", "ahead_s": ahead_s, "seen_at": now_s}
            await self._documents.upsert(FLAGS, [Update("clocks", Change(set=values))])
        return strays

    async def _find_standing(self) -> list[Document]:
        now_s, terms = self._rows.clock.unix_s(), self._rows.terms
        held = {
            "state": {"$in": LEASED},
            "lease_until": {"$gt": now_s - terms.skew_s},
            "owner": {"$ne": self._rows.owner},
        }
        standing: list[Document] = []
        for row in await self._documents.find(ROWS, held, sort="lease_until", limit=MAX_WATCHED):
            lasts_s = row["lease_until"] - row.get("leased_at", now_s)
            if lasts_s > MAX_WATCHED_S or row["owner"] is None:
                continue
            stood_s = self._sightings.stood_s(row["_id"], (row["token"], row["lease_until"]))
            if stood_s >= max(terms.length_s, lasts_s):
                standing.append(row)
        return standing
