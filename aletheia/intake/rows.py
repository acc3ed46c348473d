"""The rows of the ledger, and writes that only the holder of a row can make.

A row says when its lease was written, too: one of the future is by a clock that was ahead.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import AletheiaError, BadAnswer, BreakerOpen, InvalidTask
from aletheia.intake import counting
from aletheia.intake.models import Claim, Entry, NewTask, Outcome, RowState
from aletheia.intake.parsing import parse_entry, stub_of
from aletheia.intake.wording import ReportDialect, Wording
from aletheia.logs import about_task
from aletheia.series import NOTHING, Counts, merged
from aletheia.settings import IntakeSettings
from aletheia.store.clock import Clock, TimeUnit
from aletheia.store.lease import LeaseTerms

ROWS: Final = "aletheia_ledger"
FLAGS: Final = "aletheia_flags"

MAX_DEFERRAL_S: Final = 600.0
"""Longest time a task is deferred before it is asked for again whether it may be computed."""

LEASED: Final = [RowState.CLAIMED, RowState.PROCESSING, RowState.KEPT]
"""States in which somebody may hold a row."""

DEAD_NAMES: Final = (
    *("dead_code", "dead_message", "dead_at"),
    *("tried_at", "replaying_at", "replay_refused"),
)
"""What a row has while it is a dead letter."""

FAILURE_NAMES: Final = ("error", "outcome")
"""What a row has of a computation that failed."""

log = logging.getLogger(__name__)


class Rows:
    """The rows of one store, as one holder sees them, who claims for a lane."""

    def __init__(
        self,
        documents: Documents,
        settings: IntakeSettings,
        *,
        owner: str,
        clock: Clock,
        lane: str = "intake",
    ) -> None:
        self.documents, self.owner, self.clock, self.lane = documents, owner, clock, lane
        self.dialect: ReportDialect = settings.report_dialect
        self.terms = LeaseTerms(
            settings.lease_seconds,
            settings.clock_skew_seconds,
            owner="owner",
            token="token",  # noqa: S106 - the name of a value
            nobody=None,
            unit=TimeUnit.SECONDS,
        )

    async def of_ids(self, task_ids: Sequence[str]) -> dict[str, list[Document]]:
        """Read all rows of some upstream ids; pushed tasks may have the same ones."""
        where = {"task_id": {"$in": list(task_ids)}, "origin": None}
        found = await self.documents.find(ROWS, where)
        rows: dict[str, list[Document]] = {}
        for row in found:
            rows.setdefault(row["task_id"], []).append(row)
        return rows

    def wording(self, entry: Entry) -> Wording:
        """Return how reports of a task are written; those of pushed ones always the same way."""
        if entry.origin == "pushed":
            return Wording()
        return Wording(self.dialect, entry.listed_state)

    def lease_end(self) -> float:
        """Return when a lease ends that begins now, Unix time, seconds."""
        return self.terms.end(self.clock.now())

    def lease(self, until: float, owner: str | None) -> dict[str, Any]:
        """Return what to set in a row whose lease, or wait, begins now."""
        return {"owner": owner, "lease_until": until, "leased_at": self.clock.unix_s()}

    def released(self, pause_s: float = 0) -> dict[str, Any]:
        """Return what to set in a row that nobody holds, to be taken over after a pause."""
        until = self.clock.unix_s() + pause_s - self.terms.skew_s if pause_s else 0
        return self.lease(until, None)

    def new(self, new_task: NewTask) -> Document:
        """Return the row of a claim that nobody has made before."""
        entry, task = new_task.entry, new_task.entry.task
        pushed = {"origin": "pushed", "callback_url": entry.callback_url}
        return {
            "_id": entry.row_id,
            "task_id": entry.id,
            **(pushed if entry.origin == "pushed" else {}),
            "content_hash": entry.content_hash,
            "generation": new_task.generation,
            "type": None if isinstance(task, InvalidTask) else task.type,
            "created_at": None if isinstance(task, InvalidTask) else task.created_at,
            "group": new_task.group,
            "lane": new_task.lane,
            "job": "" if isinstance(task, InvalidTask) else task.job_id,
            "state": RowState.CLAIMED,
            "token": 1,
            **self.lease(self.lease_end(), self.owner),
            "claimed_at": self.clock.unix_s(),
            "attempts": 0,
            "report_tries": 0,
            "task_json": entry.json,
            "listed_state": entry.listed_state,
        }

    def claim_of(self, row: Document, entry: Entry) -> Claim:
        """Return the claim that taking a row will make."""
        return Claim(
            row_id=row["_id"],
            entry=entry,
            token=int(row["token"]) + 1,
            state=RowState(row["state"]),
            lease_until=self.lease_end(),
            group=row.get("group") or "",
            lane=row.get("lane"),
            takes=int(row.get("takes") or 0),
            attempts=int(row["attempts"]),
            report_tries=int(row["report_tries"]),
            report_error=row.get("report_error"),
            counted_type=counting.type_in(row),
            claimed_at=float(row.get("claimed_at") or self.clock.unix_s()),
            kept_at=row.get("kept_at"),
            body=row.get("payload"),
            computations=tuple((row.get("computations") or "").split()),
            was_reported=row.get("reported_at") is not None,
        )

    def report_failed(self, claim: Claim, why: AletheiaError) -> dict[str, Any]:
        """Return what to set in a row whose report failed: why, and since when it does for that."""
        before = claim.report_error or {}
        if not isinstance(why, BreakerOpen):  # which only spares what failed before
            since = before.get("since") if before.get("code") == why.code else None
            claim.report_error = {
                "code": why.code,
                "dependency": getattr(why, "dependency", None),
                "message": why.reason if isinstance(why, BadAnswer) else str(why),
                "since": since or self.clock.unix_s(),
            }
        return {"report_error": claim.report_error} if claim.report_error else {}

    def taking(
        self,
        claim: Claim,
        where: Mapping[str, Any],
        values: Mapping[str, Any] | None = None,
        unset: Sequence[str] = (),
        counts: Counts = NOTHING,
    ) -> Update:
        """Return the update that takes a row for a claim, if the row is as it was read.

        `counts` is what it adds to counters beside the change of state.
        """
        taken = {
            "state": claim.state,
            "token": claim.token,
            **self.lease(claim.lease_until, self.owner),
            "taken_at": self.clock.unix_s(),
            **(values or {}),
        }
        change = Change(set=taken, unset=["finished_at", *unset])
        before = RowState(where["state"])
        moved = counting.moved(claim.counted_type, before, claim.state, claim.lane)
        return Update(claim.row_id, change, where, merged(moved, counts))

    async def take(self, updates: Mapping[Claim, Update]) -> list[Claim]:
        """Take rows; what somebody else has taken meanwhile is left out."""
        done = await self.documents.update(ROWS, list(updates.values()))
        return [claim for claim, is_ours in zip(updates, done, strict=True) if is_ours]

    async def leave_out(self, entry: Entry, fault: Exception) -> None:
        """Record an entry that nothing can be done about, since each try fails unexpectedly."""
        values = {
            "task_id": entry.id,
            "content_hash": entry.content_hash,
            "task_json": stub_of(entry.id, {}),
            "token": 1,
            "generation": 1,
            **self._left_out(fault),
        }
        found = (await self.documents.get(ROWS, [entry.row_id])).get(entry.row_id, {})
        counts = self._counts_left_out(found)
        await self.documents.upsert(ROWS, [Update(entry.row_id, Change(set=values), counts=counts)])

    async def leave_out_row(self, row: Document, fault: Exception) -> None:
        """Take a row that cannot be read out of everybody's way."""
        named = about_task(str(row.get("task_id") or row["_id"]))
        said = "the row %r cannot be read and is left out"
        log.error(said, row["_id"], exc_info=fault, extra=named)
        as_read = {"token": row["token"], "state": row["state"]}
        change = Change(set=self._left_out(fault), unset=DEAD_NAMES)
        counts = merged(self._counts_left_out(row), counting.revived(row))
        await self.documents.update(ROWS, [Update(row["_id"], change, as_read, counts)])

    def _counts_left_out(self, row: Document) -> Counts:
        before = RowState(row["state"]) if row.get("state") else None
        counted_type, lane = counting.type_in(row), row.get("lane")
        return counting.moved(counted_type, before, RowState.REJECTED, lane)

    def _left_out(self, fault: Exception) -> dict[str, Any]:
        error = {"code": "internal_error", "message": type(fault).__name__, "retryable": False}
        return {
            "state": RowState.REJECTED,
            "error": error,
            "finished_at": self.clock.unix_s(),
            **self.terms.released,
        }

    def held_where(self, claim: Claim) -> dict[str, Any]:
        """Return the condition that a claim is ours, whatever state a write puts it in now."""
        states = [claim.state] if claim.is_dead_letter else LEASED
        return {"token": claim.token, "state": {"$in": states}}

    async def write(
        self,
        claims: Sequence[Claim],
        change_for: Callable[[Claim], Change],
        counts_for: Callable[[Claim], Counts] = lambda _: NOTHING,
    ) -> list[bool]:
        """Change rows of ours; a row somebody else has taken since stays as it is."""
        seen = {(claim.token, claim.state) for claim in claims}
        still_ours = {(token, state): {"token": token, "state": state} for token, state in seen}
        updates = [
            Update(
                claim.row_id,
                change_for(claim),
                still_ours[claim.token, claim.state],
                counts_for(claim),
            )
            for claim in claims
        ]
        return await self.documents.update(ROWS, updates)

    async def move(
        self,
        claims: Sequence[Claim],
        state: RowState,
        change_for: Callable[[Claim], Change],
        counts_for: Callable[[Claim], Counts] | None = None,
    ) -> list[Claim]:
        """Change rows of ours to a state, which the changes set, too; return what was ours.

        `counts_for` is what a row adds to counters beside its change of state.
        """

        def counts_of(claim: Claim) -> Counts:
            moved = counting.moved(claim.counted_type, claim.state, state, claim.lane)
            return moved if counts_for is None else merged(moved, counts_for(claim))

        answers = await self.write(claims, change_for, counts_of)
        done = {claim.row_id for claim, is_ours in zip(claims, answers, strict=True) if is_ours}
        left = {claim.row_id: claim.token for claim in claims if claim.row_id not in done}
        # A write that was not answered, and is repeated, finds what it did itself.
        for row_id, row in (await self.documents.get(ROWS, list(left)) if left else {}).items():
            if (row["token"], row["state"]) == (left[row_id], state):
                done.add(row_id)
        ours = [claim for claim in claims if claim.row_id in done]
        for claim in ours:
            claim.state = state
            log.debug("task %r: %s", claim.entry.id, state, extra=about_task(claim.entry.id))
        return ours


def entry_of(row: Document) -> Entry:
    """Return the entry that a row was made of; raises whatever makes it unreadable."""
    entry = parse_entry(row["task_json"])
    if row.get("origin") is None:
        return entry
    return replace(entry, origin=row["origin"], callback_url=row.get("callback_url"))


def kept_values(outcome: Outcome, now_s: float) -> dict[str, Any]:
    """Return what a row has of a report that is written down and not acknowledged yet."""
    values: dict[str, Any] = {
        "state": RowState.KEPT,
        "kept_at": now_s,
        "outcome": "succeeded" if outcome.error is None else "failed",
        "body_hash": hashlib.sha256(outcome.body).hexdigest(),
        "payload": outcome.body,
    }
    for name in ("result", "usage", "error"):
        if (value := getattr(outcome, name)) is not None:
            values[name] = dict(value)
    return values


def computed_values(claim: Claim) -> dict[str, Any]:
    """Return what a row has of the computations that its task was part of."""
    return {"computations": " ".join(claim.computations)} if claim.computations else {}


def dead_values(code: str, message: str, now_s: float) -> dict[str, Any]:
    """Return what a row has from when it becomes a dead letter."""
    return {"dead_code": code, "dead_message": message, "dead_at": now_s, "tried_at": now_s}
