"""Dead letters: work that failed for good, and stays until somebody replays it (SPEC §1)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from aletheia.documents import Change, Document, Update
from aletheia.errors import AletheiaError
from aletheia.intake import counting
from aletheia.intake.models import Claim, Entry, RowState
from aletheia.intake.rows import DEAD_NAMES, FAILURE_NAMES, ROWS, Rows, dead_values
from aletheia.metrics import DEAD_LETTERS


class DeadLetter(BaseModel, frozen=True):
    """A task that failed for good, for people to read."""

    id: str
    type: str  # empty where the task named none that could be read
    code: str
    message: str
    age_s: float  # since when it is a dead letter, seconds

    def as_row(self) -> dict[str, str]:
        """Return it as a row of a table."""
        age = str(timedelta(seconds=round(self.age_s)))
        return {**self.model_dump(include={"id", "type", "code", "message"}), "age": age}


class DeadLetters:
    """The dead letters of the ledger, as one poller sees them."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._documents, self._clock = rows, rows.documents, rows.clock

    async def find(
        self, *, ids: Sequence[str] | None = None, code: str | None = None, limit: int
    ) -> list[Document]:
        """Read dead letters, the one tried longest ago first, without their kept reports."""
        where: dict[str, Any] = {"dead_code": {"$gt": ""} if code is None else code}
        if ids is not None:
            where["task_id"] = {"$in": list(ids)}
        return await self._documents.find(ROWS, where, sort="tried_at", limit=limit)

    async def newest(self, *, code: str | None = None, limit: int) -> list[DeadLetter]:
        """Return dead letters for people to read, the newest first."""
        where = {"dead_code": {"$gt": ""} if code is None else code}
        rows = await self._documents.find(ROWS, where, sort="dead_at", descending=True, limit=limit)
        now_s = self._clock.unix_s()
        return [
            DeadLetter(
                id=row["task_id"],
                type=row.get("type") or "",
                code=row["dead_code"],
                message=row["dead_message"],
                age_s=max(0.0, now_s - row["dead_at"]),
            )
            for row in rows
        ]

    async def read(self, row_ids: Sequence[str]) -> list[Document]:
        """Read those of some rows that are dead letters, with their kept reports, in order."""
        rows = await self._documents.get(ROWS, row_ids, with_payload=True)
        return [rows[key] for key in row_ids if rows.get(key, {}).get("dead_code") is not None]

    async def add(self, claim: Claim, code: str, why: AletheiaError) -> None:
        """Make a dead letter of a claim; a report that was written down stays for a replay."""
        values = dead_values(code, str(why), self._clock.unix_s())
        change = Change(set={"state": RowState.DEAD, **values, **self._rows.terms.released})
        died = counting.died(code)
        await self._rows.move([claim], RowState.DEAD, lambda _: change, lambda _: died)

    async def revive(self, dead_letter: Document, entry: Entry, group: str) -> list[Claim]:
        """Claim a dead letter, which it stays until `recall`; nothing if somebody else has."""
        if not self._rows.terms.is_free(dead_letter, self._clock.now()):
            return []
        claim = self._rows.claim_of(dead_letter, entry)
        claim.group, claim.is_dead_letter = group, True
        # An earlier replay may have got as far as `processing` before it was killed.
        claim.was_taken_over = dead_letter.get("replaying_at") is not None
        values = {
            "token": claim.token,
            **self._rows.lease(claim.lease_until, self._rows.owner),
            "replaying_at": self._clock.unix_s(),
        }
        as_read = {"token": dead_letter["token"], "state": dead_letter["state"]}
        return await self._rows.take({claim: Update(claim.row_id, Change(set=values), as_read)})

    async def recall(self, claim: Claim) -> bool:
        """Turn a revived dead letter into work: a kept report to send, or a task to compute."""
        state = RowState.PROCESSING if claim.body is None else RowState.KEPT
        claim.attempts = claim.report_tries = claim.takes = 0
        now_s = self._clock.unix_s()
        values: dict[str, Any] = {"state": state, "processing_at": now_s, "attempts": 0}
        values |= {"report_tries": 0, "takes": 0}
        if claim.body is not None:
            values["kept_at"] = claim.kept_at = now_s  # a callback is tried for a day from here on
        no_failure = FAILURE_NAMES if claim.body is None else ()
        change = Change(set=values, unset=[*DEAD_NAMES, "finished_at", *no_failure])
        claim.is_dead_letter, claim.claimed_at = False, now_s
        gone = DEAD_LETTERS.add(by=-1)
        return bool(await self._rows.move([claim], state, lambda _: change, lambda _: gone))

    async def refuse(self, claim: Claim, why: AletheiaError, status: int | None) -> None:
        """Leave a revived dead letter where it is, with what the upstream said to its replay."""
        now_s = self._clock.unix_s()
        refusal = {"code": why.code, "status": status, "message": str(why), "at": now_s}
        values = {"replay_refused": refusal, "tried_at": now_s, **self._rows.terms.released}
        change = Change(set=values, unset=["replaying_at"])
        await self._rows.write([claim], lambda _: change)
