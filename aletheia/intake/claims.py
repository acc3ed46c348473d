"""Claims: taking work, renewing its leases, and letting go of it (SPEC §1, Claims)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from aletheia.documents import Change, Document, Update
from aletheia.errors import AletheiaError, InvalidTask
from aletheia.intake import counting
from aletheia.intake.concurrency import isolated
from aletheia.intake.lanes.queue import LaneQueue
from aletheia.intake.models import (
    UNFINISHED,
    Claim,
    ClockAhead,
    Listed,
    NewTask,
    Rejected,
    RowState,
)
from aletheia.intake.parsing import stub_of
from aletheia.intake.rows import (
    DEAD_NAMES,
    FAILURE_NAMES,
    FLAGS,
    LEASED,
    MAX_DEFERRAL_S,
    ROWS,
    Rows,
    computed_values,
    entry_of,
    kept_values,
)
from aletheia.metrics import TASK_RETRIES, TASKS
from aletheia.series import Counts
from aletheia.store.lease import RENEWALS_PER_LEASE, Sightings

MAX_WATCHED: Final = 200
"""How many claims of others are watched for changes, those that end first."""

MAX_WATCHED_S: Final = 3600.0
"""Longest lease that is watched; the bulk lane's lasts for a day, and is not renewed."""

CLOCKS_SHOWN_S: Final = 86_400.0
"""How long it is known that a clock was ahead, seconds."""

HANDED_OUT = {*UNFINISHED, RowState.REPORTED, RowState.CONFLICT} - {RowState.CLAIMED}
"""States that say that the upstream has taken a content for the newest one of its id."""

log = logging.getLogger(__name__)


def _nothing(_: Claim) -> dict[str, Any]:
    return {}


class Claims:
    """The claims of one poller."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._documents, self._clock = rows, rows.documents, rows.clock
        self.strays, self.queue = Strays(rows), LaneQueue(rows)

    async def claim(self, tasks: Sequence[NewTask]) -> list[Claim]:
        """Write claims, each with its whole task; those of faulty tasks with the report of why.

        What somebody else has claimed is left out. A task that the store cannot take is claimed as
        a faulty one; of a faulty one that it cannot take only the id is written down.
        """
        now_s, until = self._clock.unix_s(), self._rows.lease_end()

        async def claim(new_tasks: Sequence[NewTask]) -> list[Claim]:
            rows: dict[Claim, Document] = {}
            counts: dict[str, Counts] = {}
            for new_task in new_tasks:
                entry, problem = new_task.entry, new_task.problem
                row = self._rows.new(new_task)
                claim = Claim(entry.row_id, entry, 1, RowState.CLAIMED, until, new_task.group)
                claim.claimed_at, claim.lane = now_s, new_task.lane
                code = None if problem is None else problem.code
                claim.counted_type = counting.type_of(entry, code)
                if problem is not None:
                    outcome = self._rows.wording(entry).failed(problem)
                    row |= kept_values(outcome, now_s)
                    claim.state, claim.body = RowState.KEPT, outcome.body
                rows[claim] = row
                counts[claim.row_id] = counting.claimed(
                    entry, claim.counted_type, claim.state, now_s, self._rows.lane
                )
            new = await self._documents.insert(ROWS, list(rows.values()), counts=counts)
            return [claim for claim in rows if claim.row_id in new]

        async def simplify(task: NewTask, fault: Exception) -> Sequence[Claim]:
            entry, stub = task.entry, stub_of(task.entry.id, {})
            if task.problem is None:
                problem = InvalidTask("unstorable_task", "the task cannot be written down")
                simpler = NewTask(replace(entry, task=problem), "", task.generation, problem)
            elif entry.json != stub:
                simpler = task._replace(entry=replace(entry, json=stub))
            else:
                await self._rows.leave_out(entry, fault)
                return []
            return await isolated(claim, [simpler], simplify)

        return await isolated(claim, tasks, simplify)

    async def reject(self, entries: Sequence[Rejected]) -> int:
        """Record entries without a usable id, each content once; return how many were new."""
        now_s = self._clock.unix_s()
        rows: list[Document] = [
            {
                "_id": f"#{entry.content_hash}",
                "state": RowState.REJECTED,
                "content_hash": entry.content_hash,
                "task_json": entry.json,
                "error": {"code": "invalid_id", "message": entry.reason, "retryable": False},
                "finished_at": now_s,
            }
            for entry in entries
        ]
        counts = dict.fromkeys((row["_id"] for row in rows), TASKS.add("invalid", "rejected"))
        return len(await self._documents.insert(ROWS, rows, counts=counts))

    async def reopen(self, listed: Sequence[Listed], bodies: Mapping[str, bytes]) -> list[Claim]:
        """Claim finished rows that the upstream lists as pending again.

        Reports among `bodies`, by row id, are to be sent again, the other tasks to be computed.
        """
        now_s = self._clock.unix_s()
        updates: dict[Claim, Update] = {}
        for row, entry, group, lane in listed:
            claim = self._rows.claim_of(row, entry)
            claim.group, claim.body, claim.claimed_at = group, bodies.get(row["_id"]), now_s
            claim.lane = lane
            values: dict[str, Any] = {
                "resent_at": now_s,
                "task_json": entry.json,
                "listed_state": entry.listed_state,
                "lane": lane,
            }
            if claim.body is None:
                claim.state, claim.attempts, claim.takes = RowState.CLAIMED, 0, 0
                values |= {"attempts": 0, "generation": row["generation"] + 1, "group": group}
            else:
                claim.state, claim.is_resend = RowState.KEPT, True
                values |= {"payload": claim.body, "report_tries": 0}
            unset = (*DEAD_NAMES, *(FAILURE_NAMES if claim.body is None else ()))
            as_read = {"token": row["token"], "state": row["state"]}
            gone = counting.revived(row)
            updates[claim] = self._rows.taking(claim, as_read, values, unset, gone)
        return await self._rows.take(updates)

    async def take_over(self, limit: int) -> list[Claim]:
        """Take what nobody holds any more: leases run out, waits over, reports due.

        What the workers of lanes compute is left to them.
        """
        ended, now_s = self._rows.terms.ended_where(self._clock.now()), self._clock.unix_s()
        found: list[Document] = []
        for where in (
            {"state": RowState.KEPT, **ended},
            {"state": RowState.PROCESSING, "lane": None, **ended},
            {"state": RowState.CLAIMED, **ended},
            {"state": RowState.WAITING, "lane": None, "lease_until": {"$lt": now_s}},
        ):
            if len(found) < limit:
                found += await self._documents.find(
                    ROWS, where, sort="lease_until", limit=limit - len(found), with_payload=True
                )
        if len(found) < limit:
            found += await self.strays.find(limit - len(found))
        return await self.take_rows(found)

    async def take_rows(
        self, found: Sequence[Document], values_of: Callable[[Claim], dict[str, Any]] = _nothing
    ) -> list[Claim]:
        """Claim rows as they were found; what somebody else has taken meanwhile is left out.

        `values_of` is what else to set in the row of a claim.
        """
        updates: dict[Claim, Update] = {}
        for row in found:
            try:
                entry = entry_of(row)
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is of this row
                await self._rows.leave_out_row(row, fault)
                continue
            claim = self._rows.claim_of(row, entry)
            claim.was_taken_over, claim.was_kept = True, claim.state is RowState.KEPT
            if claim.state in (RowState.WAITING, RowState.QUEUED):
                claim.state = RowState.PROCESSING
            as_read = {name: row[name] for name in ("token", "state", "lease_until")}
            updates[claim] = self._rows.taking(claim, as_read, values_of(claim))
        return await self._rows.take(updates)

    async def acknowledge(self, claims: Sequence[Claim]) -> list[Claim]:
        """Record that the upstream acknowledged `processing`; return what is still ours.

        What is for a lane is handed over to it in the same write.
        """
        moment = {"processing_at": self._clock.unix_s()}
        values = {"state": RowState.PROCESSING, "lane": None, **moment}
        change = Change(set=values, unset=["report_error"])
        own = [claim for claim in claims if claim.lane is None]
        for_lanes = [claim for claim in claims if claim.lane is not None]
        accepted = await self._rows.move(own, RowState.PROCESSING, lambda _: change) if own else []
        return [*accepted, *await self.queue.hand_over(for_lanes, moment)]

    async def count_attempts(self, claims: Sequence[Claim]) -> None:
        """Record one more failed computation of each claim."""
        for claim in claims:
            claim.attempts += 1
        await self._rows.write(
            claims,
            lambda claim: Change(set={"attempts": claim.attempts, **computed_values(claim)}),
            lambda claim: TASK_RETRIES.add(claim.counted_type),
        )

    async def wait(self, claims: Sequence[Claim], until: float, why: AletheiaError) -> None:
        """Defer claims until a moment, Unix time, or the longest wait; this is no attempt."""
        until = min(until, self._clock.unix_s() + MAX_DEFERRAL_S)
        why_not = {"code": why.code, "message": str(why)}
        values = {**self._rows.lease(until, None), "waiting_until": until, "waiting_for": why_not}
        waiting = {"state": RowState.WAITING, "takes": 0, **values}

        def change_for(claim: Claim) -> Change:
            return Change(set={**waiting, "lane": claim.lane, **computed_values(claim)})

        await self._rows.move(claims, RowState.WAITING, change_for)

    async def supersede(self, row_ids: Sequence[str]) -> int:
        """Abandon rows whose id the upstream hands out with other content."""
        change = Change(set={"state": RowState.SUPERSEDED, "finished_at": self._clock.unix_s()})
        left, superseded = list(row_ids), 0
        # A row that is moved on meanwhile is tried again: counters tell the state it comes from.
        while left:
            rows = await self._documents.get(ROWS, left)
            updates = [
                Update(
                    row_id,
                    change,
                    {"state": row["state"]},
                    counting.moved(
                        counting.type_in(row),
                        RowState(row["state"]),
                        RowState.SUPERSEDED,
                        row.get("lane"),
                    ),
                )
                for row_id, row in rows.items()
                if row["state"] in UNFINISHED
            ]
            answers = await self._documents.update(ROWS, updates)
            pairs = list(zip(updates, answers, strict=True))
            superseded += sum(answers)
            left = [update.id for update, is_done in pairs if not is_done]
        return superseded

    async def release(
        self, claims: Sequence[Claim], *, for_s: float = 0, why: AletheiaError | None = None
    ) -> None:
        """Release claims, at once or after `for_s`; `why` is in the way of their reports."""
        released = self._rows.released(for_s)
        failed = {} if why is None else {c.row_id: self._rows.report_failed(c, why) for c in claims}
        updates = [
            Update(
                claim.row_id,
                Change(set={**released, **_untaken(claim), **failed.get(claim.row_id, {})}),
                self._rows.held_where(claim),
            )
            for claim in claims
        ]
        await self._documents.update(ROWS, updates)

    async def renew(self, claims: Sequence[Claim]) -> list[Claim]:
        """Extend the leases of claims; return those that are lost."""
        until = self._rows.lease_end()
        change = Change(set={"lease_until": until, "leased_at": self._clock.unix_s()})
        updates = [Update(claim.row_id, change, self._rows.held_where(claim)) for claim in claims]
        done = await self._documents.update(ROWS, updates)
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

    def is_held(self, claim: Claim) -> bool:
        """Return whether the lease still holds by our own clock."""
        return self._clock.unix_s() < claim.lease_until

    async def still_ours(self, claims: Sequence[Claim]) -> list[Claim]:
        """Return those claims whose rows have our token and the state we left them in."""
        rows = await self._documents.get(ROWS, [claim.row_id for claim in claims])
        seen = {key: (row["token"], row["state"]) for key, row in rows.items()}
        return [claim for claim in claims if seen.get(claim.row_id) == (claim.token, claim.state)]

    def is_settled(self, row: Document) -> bool:
        """Return whether a row that is listed as pending again is to be left alone for now.

        Its report is sent again once per lease time; another end has to be a lease time old.
        """
        if row["state"] == RowState.SUPERSEDED:
            return False
        now_s, terms = self._clock.unix_s(), self._rows.terms
        latest_s = now_s + terms.skew_s
        if row["lease_until"] > now_s and row.get("leased_at", now_s) <= latest_s:
            return True
        moments = [row.get("resent_at") or 0]
        if row["state"] != RowState.REPORTED:
            moments += [row.get("finished_at") or 0, row.get("dead_at") or 0]
        # A moment in the future was written by a clock that was ahead.
        return any(now_s - terms.length_s < moment <= latest_s for moment in moments)

    async def newer_work(self, task_ids: Sequence[str]) -> set[str]:
        """Return the ids of rows whose upstream id was handed out with other content since."""
        superseded: set[str] = set()
        for rows in (await self._rows.of_ids(task_ids)).values():
            newest = max([row["generation"] for row in rows if row["state"] in HANDED_OUT] or [0])
            superseded |= {row["_id"] for row in rows if row["generation"] < newest}
        return superseded


def _untaken(claim: Claim) -> dict[str, Any]:
    """Return what to set in the row of a claim that is released before its end."""
    return {} if claim.lane is None else {"takes": max(0, claim.takes - 1)}


class Strays:
    """Finds claims that others seem to hold and do not, since clocks were wrong, now and then."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._documents = rows, rows.documents
        self._sightings = Sightings(rows.clock)
        self._next_search_s = float("-inf")

    async def find(self, limit: int) -> list[Document]:
        """Return rows that nobody holds, whatever their leases say.

        They were leased by a clock that was ahead, or have not changed for as long as their
        lease lasts, by our own steady clock.
        """
        steady_s, length_s = self._rows.clock.steady_s(), self._rows.terms.length_s
        if steady_s < self._next_search_s:
            return []
        self._next_search_s = steady_s + length_s / RENEWALS_PER_LEASE
        strays = [*await self._find_leased_ahead(limit), *await self._find_unchanged()]
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

    async def _find_unchanged(self) -> list[Document]:
        now_s, terms = self._rows.clock.unix_s(), self._rows.terms
        held = {
            "state": {"$in": LEASED},
            "lease_until": {"$gt": now_s - terms.skew_s},
            "owner": {"$ne": self._rows.owner},
        }
        unchanged: list[Document] = []
        for row in await self._documents.find(ROWS, held, sort="lease_until", limit=MAX_WATCHED):
            lasts_s = row["lease_until"] - row.get("leased_at", now_s)
            if lasts_s > MAX_WATCHED_S or row["owner"] is None:
                continue
            lasted_s = self._sightings.unchanged_s(row["_id"], (row["token"], row["lease_until"]))
            if lasted_s >= max(terms.length_s, lasts_s):
                unchanged.append(row)
        return unchanged
