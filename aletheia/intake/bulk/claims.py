"""The ledger as the bulk lane sees it: what the lane has claimed, whichever run it was."""

from collections.abc import Mapping
from typing import Any, Final

from aletheia.documents import Documents
from aletheia.intake.claims import Claims
from aletheia.intake.ledger import Ledger
from aletheia.intake.models import Claim, RowState
from aletheia.intake.parsing import parse_entry
from aletheia.intake.rows import LEASED, ROWS
from aletheia.settings import IntakeSettings
from aletheia.store.clock import Clock

OWNER: Final = "bulk_embed"
"""Who holds the lane's claims, whichever run made them."""

LEASE_S: Final = 26 * 3600
"""How long a claim of the lane holds (SPEC §2): the 24 hours of a batch, and what comes after."""


class LaneClaims(Claims):
    """The claims of all runs of the lane."""

    async def take_over(self, limit: int) -> list[Claim]:
        """Take what an earlier run claimed; to be asked while there is no order."""
        found = await self._documents.find(
            ROWS, self._ours(), sort="claimed_at", limit=limit, with_payload=True
        )
        return await self.take_rows(found)

    async def count_left(self) -> int:
        """Count what an earlier run claimed; to be asked while there is no order."""
        return await self._documents.count(ROWS, self._ours())

    async def resume(self, tokens: Mapping[str, int]) -> list[Claim]:
        """Read claims of an order back by row and fencing token, without those settled or lost."""
        rows = await self._documents.get(ROWS, list(tokens), with_payload=True)
        claims: list[Claim] = []
        for row_id, token in tokens.items():
            row = rows.get(row_id)
            states = (RowState.PROCESSING, RowState.KEPT)
            if row is None or row["state"] not in states or row["token"] != token:
                continue
            if row["owner"] == self._rows.owner:
                claim = self._rows.claim_of(row, parse_entry(row["task_json"]))
                claim.token, claim.lease_until = token, row["lease_until"]
                claims.append(claim)
        return claims

    def _ours(self) -> dict[str, Any]:
        return {"owner": self._rows.owner, "state": {"$in": LEASED}}


class LaneLedger(Ledger):
    """The ledger with the lane's claims."""

    claims: LaneClaims

    def __init__(self, documents: Documents, settings: IntakeSettings, *, clock: Clock) -> None:
        changed = settings.model_copy(update={"lease_seconds": LEASE_S})
        super().__init__(documents, changed, owner=OWNER, clock=clock, lane="bulk")
        self.claims = LaneClaims(self.rows)

    async def prepare(self) -> None:
        """Make the look-ups fast. Idempotent."""
        await super().prepare()
        await self._documents.ensure_index(ROWS, ["owner", "state"])
