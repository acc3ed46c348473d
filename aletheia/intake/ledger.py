"""The ledger: what is claimed, kept and reported, so that every effect happens exactly once.

A row stands for one content of one upstream id. Its life:

    claimed ──▶ processing ──▶ kept ──▶ reported
       │            │  ▲         │ ├──▶ conflict      delivered elsewhere
       │            ▼  │         │ └──▶ dead          the upstream refuses the report
       │          waiting        └────▶ kept          again later, for ever
       └──▶ conflict | dead

Whoever holds a row has a lease on it and a token. Every write names the token; a write with an
old one changes nothing. A row whose lease has run out is taken over with the next token.
"""

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import AletheiaError, InvalidTask, Unavailable, retry_after_s
from aletheia.intake.models import (
    UNFINISHED,
    Claim,
    Entry,
    Outcome,
    Rejected,
    RowState,
    Task,
)
from aletheia.intake.parsing import body_of_failure, failed, failure_in, parse_entry
from aletheia.settings import IntakeSettings

ROWS = "aletheia_ledger"
RESULTS = "aletheia_results"
FLAGS = "aletheia_flags"
SHIFTS = "aletheia_shifts"

SECONDS_A_DAY = 86_400

TOO_MANY_REQUESTS = 429

MAX_BACKOFF_S = 600
"""Longest pause between two tries of a report, seconds (SPEC §1, Reporting)."""

log = logging.getLogger(__name__)

LEASED = [RowState.CLAIMED, RowState.PROCESSING, RowState.KEPT]
DEAD_NAMES = (
    "dead_code",
    "dead_message",
    "dead_at",
    "tried_at",
    "replaying_at",
    "replay_refused",
)
FAILURE_NAMES = ("error", "outcome")


@dataclass(frozen=True, slots=True)
class Overview:
    """How the ledger stands.

    Attributes:
        is_paused: intake as a whole is paused.
        states: rows by state.
        held: rows under a lease that has not run out.
        expired: rows whose lease has run out, for the next look to take over.
        waiting: rows held up after `processing`.
        dead: dead letters by code.
    """

    is_paused: bool
    states: dict[str, int]
    held: int
    expired: int
    waiting: int
    dead: dict[str, int]


class Ledger:
    """The rows of one store, as one poller sees them.

    Args:
        documents: the store, open.
        owner: who holds the claims made here, for people to read.
        clock: Unix time, seconds.
        lease_s: how long a claim holds without renewal.
        skew_s: how far other pollers' clocks may be off.
        backoff_s: first pause after a report that failed.
        result_ttl_s: how long a reported result can still be sent again.
        retention_s: how long finished rows stay.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        owner: str,
        clock: Callable[[], float],
        lease_s: float,
        skew_s: float,
        backoff_s: float,
        result_ttl_s: float,
        retention_s: float,
    ) -> None:
        self._documents = documents
        self._owner = owner
        self.clock = clock
        self.lease_s = lease_s
        self._skew_s = skew_s
        self._backoff_s = backoff_s
        self._result_ttl_s = result_ttl_s
        self._retention_s = retention_s

    @classmethod
    def from_settings(
        cls,
        documents: Documents,
        settings: IntakeSettings,
        *,
        owner: str,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Build a ledger as the settings say."""
        return cls(
            documents,
            owner=owner,
            clock=clock,
            lease_s=settings.lease_seconds,
            skew_s=settings.clock_skew_seconds,
            backoff_s=settings.report_backoff_seconds,
            result_ttl_s=settings.result_cache_ttl,
            retention_s=settings.ledger_retention_days * SECONDS_A_DAY,
        )

    async def prepare(self) -> None:
        """Make the look-ups below fast."""
        await self._documents.ensure_index(ROWS, ["task_id"])
        await self._documents.ensure_index(ROWS, ["state", "lease_until"])
        await self._documents.ensure_index(ROWS, ["dead_code"])
        await self._documents.ensure_index(ROWS, ["finished_at"])
        await self._documents.ensure_index(RESULTS, ["expires_at"])

    # Claiming

    async def rows_of(self, task_ids: Sequence[str]) -> dict[str, list[Document]]:
        """Read all rows of some upstream ids."""
        found = await self._documents.find(ROWS, {"task_id": {"$in": list(task_ids)}})
        rows: dict[str, list[Document]] = {}
        for row in found:
            rows.setdefault(row["task_id"], []).append(row)
        return rows

    async def claim(self, entries: Sequence[tuple[Entry, str, int]]) -> list[Claim]:
        """Write claims, each with its whole task; what somebody else has claimed is left out.

        Args:
            entries: entry, group, and number of the generation of work under its id, from 1.
        """
        now = self.clock()
        rows = [self._new_row(entry, group, number, now) for entry, group, number in entries]
        new = await self._documents.insert(ROWS, rows)
        return [
            Claim(entry.row_id, entry, 1, RowState.CLAIMED, now + self.lease_s, group)
            for entry, group, _ in entries
            if entry.row_id in new
        ]

    async def claim_faulty(self, entries: Sequence[tuple[Entry, InvalidTask, int]]) -> list[Claim]:
        """Write down tasks that cannot be done together with the report of why."""
        now = self.clock()
        rows: list[Document] = []
        claims: list[Claim] = []
        for entry, problem, number in entries:
            outcome = failed(problem)
            row = self._new_row(entry, "", number, now)
            row |= self._kept_values(outcome, now)
            row["payload"] = outcome.body
            rows.append(row)
            claim = Claim(entry.row_id, entry, 1, RowState.KEPT, now + self.lease_s)
            claim.body = outcome.body
            claims.append(claim)
        new = await self._documents.insert(ROWS, rows)
        return [claim for claim in claims if claim.row_id in new]

    async def reject(self, entries: Sequence[Rejected]) -> int:
        """Record entries without a usable id, each content once; say how many were new."""
        now = self.clock()
        rows: list[Document] = [
            {
                "_id": f"#{entry.content_hash}",
                "state": RowState.REJECTED,
                "content_hash": entry.content_hash,
                "task_json": entry.json,
                "error": {"code": "invalid_id", "message": entry.reason, "retryable": False},
                "finished_at": now,
            }
            for entry in entries
        ]
        return len(await self._documents.insert(ROWS, rows))

    async def supersede(self, row_ids: Sequence[str]) -> int:
        """Give up rows whose id the upstream hands out with other content."""
        change = Change(set={"state": RowState.SUPERSEDED, "finished_at": self.clock()})
        states = {"state": {"$in": list(UNFINISHED)}}
        done = await self._documents.update(
            ROWS, [Update(row_id, change, states) for row_id in row_ids]
        )
        return sum(done)

    async def reopen(self, rows: Sequence[tuple[Document, Entry, str]]) -> list[Claim]:
        """Claim finished rows that the upstream lists as pending again.

        One whose report is still there is claimed to be sent again; one whose report is gone
        is claimed to be computed again, as a new generation of work.
        """
        now = self.clock()
        bodies = await self.bodies_of([row for row, _, _ in rows])
        updates: list[Update] = []
        claims: list[Claim] = []
        for row, entry, group in rows:
            claim = self._claim_of(row, entry, now)
            claim.group, claim.body = group, bodies.get(row["_id"])
            values: dict[str, Any] = {"resent_at": now, "task_json": entry.json}
            if claim.body is None:
                claim.state, claim.attempts = RowState.CLAIMED, 0
                values |= {"attempts": 0, "generation": row["generation"] + 1, "group": group}
            else:
                claim.state, claim.is_resend = RowState.KEPT, True
                values |= {"payload": claim.body, "report_tries": 0}
            where = {"token": row["token"], "state": row["state"]}
            unset = (*DEAD_NAMES, *(FAILURE_NAMES if claim.body is None else ()))
            updates.append(self._take(claim, values, where, now, unset))
            claims.append(claim)
        done = await self._documents.update(ROWS, updates)
        return [claim for claim, is_ours in zip(claims, done, strict=True) if is_ours]

    async def take_over(self, limit: int) -> list[Claim]:
        """Take what nobody holds any more: leases run out, waits over, reports due."""
        now = self.clock()
        before = now - self._skew_s
        found: list[Document] = []
        for where in (
            {"state": RowState.KEPT, "lease_until": {"$lt": before}},
            {"state": RowState.PROCESSING, "lease_until": {"$lt": before}},
            {"state": RowState.CLAIMED, "lease_until": {"$lt": before}},
            {"state": RowState.WAITING, "lease_until": {"$lt": now}},
        ):
            if len(found) < limit:
                found += await self._documents.find(
                    ROWS, where, sort="lease_until", limit=limit - len(found), with_payload=True
                )
        return await self._take_rows(found, now)

    async def _take_rows(self, found: Sequence[Document], now: float) -> list[Claim]:
        """Claim rows as they were found; what somebody else has taken meanwhile is left out."""
        updates: list[Update] = []
        claims: list[Claim] = []
        for row in found:
            try:
                entry = parse_entry(row["task_json"])
            except (KeyError, InvalidTask):
                log.exception("the row %r cannot be read and is left alone", row["_id"])
                continue
            claim = self._claim_of(row, entry, now)
            claim.was_taken_over = True
            if claim.state is RowState.WAITING:
                claim.state = RowState.PROCESSING
            where = {key: row[key] for key in ("token", "state", "lease_until")}
            updates.append(self._take(claim, {}, where, now))
            claims.append(claim)
        done = await self._documents.update(ROWS, updates)
        return [claim for claim, is_ours in zip(claims, done, strict=True) if is_ours]

    # Moving on

    async def acknowledge(self, claims: Sequence[Claim]) -> list[Claim]:
        """Record that the upstream acknowledged `processing`; return what is still ours."""
        now = self.clock()
        return await self._move(
            claims, RowState.PROCESSING, lambda _: Change(set={"processing_at": now})
        )

    async def keep(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Claim]:
        """Write reports down before they are sent; return what is still ours."""
        now = self.clock()
        by_row = {claim.row_id: outcome for claim, outcome in outcomes}
        kept = await self._move(
            [claim for claim, _ in outcomes],
            RowState.KEPT,
            lambda claim: Change(
                set={
                    **self._kept_values(by_row[claim.row_id], now),
                    "payload": by_row[claim.row_id].body,
                }
            ),
        )
        for claim in kept:
            claim.body = by_row[claim.row_id].body
        return kept

    async def count_attempts(self, claims: Sequence[Claim]) -> None:
        """Record one more failed computation of each claim."""
        for claim in claims:
            claim.attempts += 1
        await self._write(claims, lambda claim: Change(set={"attempts": claim.attempts}))

    async def wait(self, claims: Sequence[Claim], until: float, why: AletheiaError) -> None:
        """Put claims aside until a moment; this counts as no attempt."""
        values = {
            "lease_until": until,
            "waiting_until": until,
            "waiting_for": {"code": why.code, "message": str(why)},
        }
        await self._move(claims, RowState.WAITING, lambda _: Change(set=values))

    async def release(self, claims: Sequence[Claim], *, for_s: float = 0) -> None:
        """Let go of claims so that anybody may take them over, at once or after a while."""
        until = self._free_at(for_s) if for_s else 0
        change = Change(set={"lease_until": until, "owner": None})
        await self._documents.update(
            ROWS, [Update(claim.row_id, change, self._lease_of(claim)) for claim in claims]
        )

    async def renew(self, claims: Sequence[Claim]) -> list[Claim]:
        """Extend the leases of claims; return those that are lost."""
        until = self.clock() + self.lease_s
        change = Change(set={"lease_until": until})
        done = await self._documents.update(
            ROWS, [Update(claim.row_id, change, self._lease_of(claim)) for claim in claims]
        )
        doubtful: list[Claim] = []
        for claim, is_ours in zip(claims, done, strict=True):
            if is_ours:
                claim.lease_until = until
            else:
                doubtful.append(claim)
        # A row that we settled meanwhile has no lease, and our token still.
        rows = await self._documents.get(ROWS, [claim.row_id for claim in doubtful])
        settled = {
            (key, row["token"]) for key, row in rows.items() if row["state"] != RowState.SUPERSEDED
        }
        return [claim for claim in doubtful if (claim.row_id, claim.token) not in settled]

    def is_settled(self, row: Document) -> bool:
        """Tell whether a row that is listed as pending again is to be left alone for now.

        Its report is sent again once per lease time; what the upstream has refused or settled
        elsewhere has to be a lease time old.
        """
        if row["state"] == RowState.SUPERSEDED:
            return False
        if row["lease_until"] > self.clock():
            return True
        last = row.get("resent_at") or 0
        if row["state"] != RowState.REPORTED:
            last = max(last, row.get("finished_at") or 0, row.get("dead_at") or 0)
        return self.clock() < last + self.lease_s

    async def still_ours(self, claims: Sequence[Claim]) -> list[Claim]:
        """Return those claims whose rows have our token and the state we left them in."""
        rows = await self._documents.get(ROWS, [claim.row_id for claim in claims])
        seen = {key: (row["token"], row["state"]) for key, row in rows.items()}
        return [claim for claim in claims if seen.get(claim.row_id) == (claim.token, claim.state)]

    async def newer_work(self, task_ids: Sequence[str]) -> set[str]:
        """Name the rows of some ids that the upstream has handed out anew since."""
        rows = await self.rows_of(task_ids)
        taken = (
            *(RowState.PROCESSING, RowState.WAITING, RowState.KEPT),
            *(RowState.REPORTED, RowState.CONFLICT),
        )
        superseded: set[str] = set()
        for of_id in rows.values():
            newest = max((row["generation"] for row in of_id if row["state"] in taken), default=0)
            superseded |= {row["_id"] for row in of_id if row["generation"] < newest}
        return superseded

    def is_held(self, claim: Claim) -> bool:
        """Tell whether the lease still holds by our own clock."""
        return self.clock() < claim.lease_until

    # Settling

    async def reported(self, claims: Sequence[Claim]) -> list[Claim]:
        """Record acknowledged reports; return what was still ours.

        The body moves to the results, which expire.
        """
        await self._keep_results(claims)
        return await self._finish(claims, RowState.REPORTED, {"reported_at": self.clock()})

    async def conflicted(self, claims: Sequence[Claim]) -> None:
        """Record that the upstream had these settled by somebody else.

        Should it list one again, it gets the result that was kept, and no other.
        """
        await self._keep_results([claim for claim in claims if claim.body is not None])
        await self._finish(claims, RowState.CONFLICT, {})

    async def refused(self, claim: Claim, code: str, why: AletheiaError) -> None:
        """Make a dead letter of a claim whose report, or claim, the upstream refuses.

        A report that was written down stays with the row, so that a replay sends it again.
        """
        now = self.clock()
        values = {
            "state": RowState.DEAD,
            "lease_until": 0,
            "owner": None,
            **_dead_values(code, str(why), now),
        }
        await self._write([claim], lambda _: Change(set=values))
        claim.state = RowState.DEAD

    async def defer_report(self, claim: Claim, why: AletheiaError) -> float:
        """Put a report aside after it could not be delivered; return the pause, seconds."""
        claim.report_tries += 1
        longest = min(MAX_BACKOFF_S, self._backoff_s * 2 ** min(claim.report_tries - 1, 16))
        pause = longest * random.uniform(0.5, 1)  # noqa: S311
        pause = max(pause, _wait_before_report(why))
        values = {
            "report_tries": claim.report_tries,
            "report_error": {"code": why.code, "message": str(why)},
            "lease_until": self._free_at(pause),
            "owner": None,
        }
        await self._write([claim], lambda _: Change(set=values))
        return pause

    # Dead letters

    async def dead_letters(
        self, *, ids: Sequence[str] | None = None, code: str | None = None, limit: int
    ) -> list[Document]:
        """Read dead letters, the one tried longest ago first, without their kept reports."""
        where: dict[str, Any] = {"dead_code": {"$gt": ""} if code is None else code}
        if ids is not None:
            where["task_id"] = {"$in": list(ids)}
        return await self._documents.find(ROWS, where, sort="tried_at", limit=limit)

    async def letters(self, row_ids: Sequence[str]) -> list[Document]:
        """Read those of some rows that are dead letters, with their kept reports, in order."""
        rows = await self._documents.get(ROWS, row_ids, with_payload=True)
        return [rows[key] for key in row_ids if rows.get(key, {}).get("dead_code") is not None]

    async def revive(self, letter: Document, entry: Entry, group: str) -> list[Claim]:
        """Claim a dead letter; nothing if somebody else has done so meanwhile.

        The claim stays a dead letter until `recall` says the upstream takes the task back.
        """
        now = self.clock()
        claim = self._claim_of(letter, entry, now)
        claim.group = group
        claim.body = letter.get("payload")
        claim.is_letter = True
        # An earlier replay may have got as far as `processing` before it was killed.
        claim.was_taken_over = letter.get("replaying_at") is not None
        values = {
            "token": claim.token,
            "owner": self._owner,
            "lease_until": claim.lease_until,
            "replaying_at": now,
        }
        before = now - self._skew_s
        where = {"token": letter["token"], "state": letter["state"]}
        if letter["lease_until"] >= before:
            return []
        (is_ours,) = await self._documents.update(
            ROWS, [Update(letter["_id"], Change(set=values), where)]
        )
        return [claim] if is_ours else []

    async def recall(self, claim: Claim) -> bool:
        """Turn a revived letter into work: a kept report to send, or a task to compute."""
        now = self.clock()
        state = RowState.PROCESSING if claim.body is None else RowState.KEPT
        claim.attempts = claim.report_tries = 0
        change = Change(
            set={"processing_at": now, "attempts": 0, "report_tries": 0},
            unset=[*DEAD_NAMES, "finished_at", *(FAILURE_NAMES if claim.body is None else ())],
        )
        claim.is_letter = False
        return bool(await self._move([claim], state, lambda _: change))

    async def refuse_replay(self, claim: Claim, why: AletheiaError, status: int | None) -> None:
        """Leave a letter where it is, with what the upstream said to its replay."""
        said = {
            "code": why.code,
            "status": status,
            "message": str(why),
            "at": self.clock(),
        }
        values = {
            "replay_refused": said,
            "tried_at": said["at"],
            "lease_until": 0,
            "owner": None,
        }
        change = Change(set=values, unset=["replaying_at"])
        await self._write([claim], lambda _: change)

    # Looking

    async def overview(self) -> Overview:
        """Count what an operator asks about first."""
        before = self.clock() - self._skew_s
        states = await self._documents.count_by(ROWS, "state", {})
        expired = await self._documents.count(
            ROWS, {"state": {"$in": LEASED}, "lease_until": {"$lt": before}}
        )
        return Overview(
            is_paused=await self.is_paused(),
            states=states,
            held=sum(states.get(state, 0) for state in LEASED) - expired,
            expired=expired,
            waiting=states.get(RowState.WAITING, 0),
            dead=await self._documents.count_by(ROWS, "dead_code", {}),
        )

    # Housekeeping

    async def purge(self) -> int:
        """Delete what has outlived its use: results past their time, old rows and shifts."""
        now = self.clock()
        gone = await self._documents.delete(RESULTS, {"expires_at": {"$lt": now}}, limit=10_000)
        old = {"finished_at": {"$lt": now - self._retention_s}}
        gone += await self._documents.delete(ROWS, old, limit=10_000)
        long_over = {"started_at": {"$lt": now - self._retention_s}}
        return gone + await self._documents.delete(SHIFTS, long_over, limit=10_000)

    async def is_paused(self) -> bool:
        """Tell whether intake as a whole is paused."""
        flags = await self._documents.get(FLAGS, ["intake"])
        return bool(flags.get("intake", {}).get("is_paused"))

    async def set_paused(self, *, is_paused: bool) -> None:
        """Pause or resume intake as a whole; every shift obeys within one tick."""
        values = {"is_paused": is_paused, "at": self.clock()}
        await self._documents.upsert(FLAGS, [Update("intake", Change(set=values))])

    async def shift_start(self, run_id: str) -> float:
        """Say when a run's shift began; a resumed run gets its first answer again."""
        now = self.clock()
        await self._documents.insert(SHIFTS, [{"_id": run_id, "started_at": now}])
        shifts = await self._documents.get(SHIFTS, [run_id])
        return float(shifts[run_id]["started_at"])

    # Inside

    def _lease_of(self, claim: Claim) -> dict[str, Any]:
        """Condition for a row to be ours, whatever state a write under way puts it in."""
        states = [claim.state] if claim.is_letter else LEASED
        return {"token": claim.token, "state": {"$in": states}}

    def _free_at(self, pause_s: float) -> float:
        """When a lease must end for a takeover, which allows for skew, to come after a pause."""
        return self.clock() + pause_s - self._skew_s

    def _new_row(self, entry: Entry, group: str, number: int, now: float) -> Document:
        task = entry.task
        return {
            "_id": entry.row_id,
            "task_id": entry.id,
            "content_hash": entry.content_hash,
            "generation": number,
            "type": None if isinstance(task, InvalidTask) else task.type,
            "group": group,
            "state": RowState.CLAIMED,
            "owner": self._owner,
            "token": 1,
            "lease_until": now + self.lease_s,
            "claimed_at": now,
            "attempts": 0,
            "report_tries": 0,
            "task_json": entry.json,
        }

    def _kept_values(self, outcome: Outcome, now: float) -> dict[str, Any]:
        values: dict[str, Any] = {
            "state": RowState.KEPT,
            "kept_at": now,
            "outcome": "succeeded" if outcome.error is None else "failed",
            "body_hash": hashlib.sha256(outcome.body).hexdigest(),
        }
        if outcome.result is not None:
            values["result"] = dict(outcome.result)
        if outcome.usage is not None:
            values["usage"] = dict(outcome.usage)
        if outcome.error is not None:
            values["error"] = dict(outcome.error)
        return values

    def _claim_of(self, row: Document, entry: Entry, now: float) -> Claim:
        return Claim(
            row_id=row["_id"],
            entry=entry,
            token=int(row["token"]) + 1,
            state=RowState(row["state"]),
            lease_until=now + self.lease_s,
            group=row.get("group") or "",
            attempts=int(row["attempts"]),
            report_tries=int(row["report_tries"]),
            body=row.get("payload"),
            was_reported=row.get("reported_at") is not None,
        )

    def _take(
        self,
        claim: Claim,
        values: Mapping[str, Any],
        where: Mapping[str, Any],
        now: float,
        unset: Sequence[str] = (),
    ) -> Update:
        taken = {
            "state": claim.state,
            "token": claim.token,
            "owner": self._owner,
            "lease_until": claim.lease_until,
            "taken_at": now,
            **values,
        }
        return Update(claim.row_id, Change(set=taken, unset=["finished_at", *unset]), where)

    async def bodies_of(self, rows: Sequence[Document]) -> dict[str, bytes]:
        """Read the reports of finished rows, by row id; those that are gone are left out."""
        ids = [row["_id"] for row in rows]
        bodies: dict[str, bytes] = {
            row["_id"]: body_of_failure(row["error"])
            for row in rows
            if row.get("outcome") == "failed"
        }
        # A dead letter still has its report in the row.
        for found in (
            await self._documents.get(RESULTS, ids, with_payload=True),
            await self._documents.get(ROWS, ids, with_payload=True),
        ):
            bodies |= {
                key: cast("bytes", document["payload"])
                for key, document in found.items()
                if document.get("payload") is not None
            }
        return bodies

    async def _write(
        self, claims: Sequence[Claim], change_for: Callable[[Claim], Change]
    ) -> list[bool]:
        """Change rows of ours; a row somebody else has taken since stays as it is."""
        seen = {(claim.token, claim.state) for claim in claims}
        still_ours = {(token, state): {"token": token, "state": state} for token, state in seen}
        return await self._documents.update(
            ROWS,
            [
                Update(claim.row_id, change_for(claim), still_ours[claim.token, claim.state])
                for claim in claims
            ],
        )

    async def _move(
        self, claims: Sequence[Claim], state: RowState, change_for: Callable[[Claim], Change]
    ) -> list[Claim]:
        """Change rows of ours together with their state; return those that were still ours."""

        def with_state(claim: Claim) -> Change:
            change = change_for(claim)
            return Change({**change.set, "state": state}, change.unset, change.increase)

        done = await self._write(claims, with_state)
        ours = [claim for claim, is_ours in zip(claims, done, strict=True) if is_ours]
        for claim in ours:
            claim.state = state
        return ours

    async def _keep_results(self, claims: Sequence[Claim]) -> None:
        """Keep reports beyond their rows' end, for a while."""
        if self._result_ttl_s <= 0:
            return
        expires = self.clock() + self._result_ttl_s
        await self._documents.upsert(
            RESULTS,
            [
                Update(claim.row_id, Change(set={"payload": claim.body, "expires_at": expires}))
                for claim in claims
            ],
        )

    async def _finish(
        self, claims: Sequence[Claim], state: RowState, values: Mapping[str, Any]
    ) -> list[Claim]:
        now = self.clock()
        rows = {"finished_at": now, "lease_until": 0, "owner": None, **values}

        def change_for(claim: Claim) -> Change:
            failure = failure_in(claim.body or b"") if state is RowState.REPORTED else None
            dead = _dead_values(failure["code"], failure["message"], now) if failure else {}
            # Only what describes the result stays of a success; a letter may be replayed.
            if state is not RowState.REPORTED or failure is not None:
                return Change(set={**rows, **dead}, unset=["payload"])
            routing = _routing_values(claim.entry)
            return Change(set={**rows, **routing}, unset=["payload", "task_json"])

        return await self._move(claims, state, change_for)


def _dead_values(code: str, message: str, now: float) -> dict[str, Any]:
    return {"dead_code": code, "dead_message": message, "dead_at": now, "tried_at": now}


def _routing_values(entry: Entry) -> dict[str, Any]:
    """What stays of a task that is done: the upstream's own routing data."""
    if not isinstance(entry.task, Task) or entry.task.callback_route is None:
        return {}
    routing = {"route": entry.task.callback_route, "params": entry.task.callback_params}
    return {"callback_json": json.dumps(routing, ensure_ascii=False)}


def _wait_before_report(why: AletheiaError) -> float:
    """Say how long the upstream asked us to wait; only with 429 may that be over ten minutes."""
    asked = retry_after_s(why)
    is_limit = isinstance(why, Unavailable) and why.status == TOO_MANY_REQUESTS
    return asked if is_limit else min(asked, MAX_BACKOFF_S)
