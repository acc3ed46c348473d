"""Reports: written down before they are sent, and settled when they are answered (SPEC §1)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, cast

from aletheia.documents import Change, Document, Update
from aletheia.errors import AletheiaError, BadAnswer, BreakerOpen, Unavailable
from aletheia.intake import counting
from aletheia.intake.models import Claim, Outcome, RowState, Task, Unacknowledged
from aletheia.intake.parsing import routing_json
from aletheia.intake.ports import UPSTREAM
from aletheia.intake.rows import ROWS, Rows, computed_values, dead_values, kept_values
from aletheia.intake.wording import Wording, failure_in
from aletheia.metrics import CACHED_RESULTS, DEAD_LETTERS, FALLBACKS, REPORT_RETRIES
from aletheia.series import NOTHING, Counts, merged
from aletheia.settings import IntakeSettings
from aletheia.store.backoff import Backoff

RESULTS: Final = "aletheia_results"

SECONDS_A_DAY: Final = 86_400

MAX_BACKOFF_S: Final = 600
"""Longest pause between two tries of a report, seconds (SPEC §1, Reporting)."""


MIN_PAUSE_S: Final = 1.0
"""Shortest wait for a breaker, seconds: its moment may have passed since it was read."""


class Reports:
    """The reports of one poller."""

    def __init__(self, rows: Rows, settings: IntakeSettings) -> None:
        self._rows, self._documents, self._clock = rows, rows.documents, rows.clock
        self._backoff = Backoff(settings.report_backoff_seconds, MAX_BACKOFF_S)
        self._result_ttl_s = settings.result_cache_ttl
        self._pushed_ttl_s = settings.ledger_retention_days * SECONDS_A_DAY

    async def keep(self, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[Claim]:
        """Write reports down before they are sent; return what is still ours."""
        now_s = self._clock.unix_s()
        by_row = {claim.row_id: outcome for claim, outcome in outcomes}
        kept = await self._rows.move(
            [claim for claim, _ in outcomes],
            RowState.KEPT,
            lambda claim: Change(
                set={**kept_values(by_row[claim.row_id], now_s), **computed_values(claim)}
            ),
            lambda claim: _origin_of(by_row[claim.row_id]),
        )
        for claim in kept:
            claim.body, claim.kept_at = by_row[claim.row_id].body, now_s
        return kept

    async def bodies_of(self, rows: Sequence[Document]) -> dict[str, bytes]:
        """Read the reports of finished rows, by row id; those that are gone are left out."""
        ids = [row["_id"] for row in rows]
        bodies: dict[str, bytes] = {
            row["_id"]: Wording(self._rows.dialect, row.get("listed_state")).failure(row["error"])
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

    async def accepted(self, claims: Sequence[Claim]) -> list[Claim]:
        """Record acknowledged reports; return what was still ours."""
        await self._save_results(claims)
        values = {"reported_at": self._clock.unix_s()}
        return await self._finish(claims, RowState.REPORTED, values)

    async def conflicted(self, claims: Sequence[Claim]) -> None:
        """Record that somebody else has settled these; what was kept is saved to be sent again."""
        await self._save_results([claim for claim in claims if claim.body is not None])
        await self._finish(claims, RowState.CONFLICT, {})

    async def defer(self, claim: Claim, why: AletheiaError) -> float:
        """Defer a report that could not be delivered; return the pause, seconds.

        What a breaker refuses was not sent: it is no try, and waits until the breaker lets one go.
        """
        if isinstance(why, BreakerOpen):
            return await self._defer_until(claim, why)
        claim.report_tries += 1
        pause_s = self._backoff.pause_s(claim.report_tries, asked_s=why.retry_after_s or 0)
        if isinstance(why, Unavailable) and why.status == HTTPStatus.TOO_MANY_REQUESTS:
            # Only a limit may ask for more than ten minutes.
            pause_s = max(pause_s, why.retry_after_s or 0)
        values = {
            "report_tries": claim.report_tries,
            "asked_until": self._clock.unix_s() + (why.retry_after_s or 0),
            **self._rows.report_failed(claim, why),
            **self._rows.released(pause_s),
        }
        change, retried = Change(set=values), REPORT_RETRIES.add()
        await self._rows.write([claim], lambda _: change, lambda _: retried)
        return pause_s

    async def _defer_until(self, claim: Claim, why: BreakerOpen) -> float:
        until_s = self._clock.unix_s() if why.until is None else why.until.timestamp()
        pause_s = min(max(until_s - self._clock.unix_s(), MIN_PAUSE_S), MAX_BACKOFF_S)
        values = {**self._rows.report_failed(claim, why), **self._rows.released(pause_s)}
        await self._rows.write([claim], lambda _: Change(set=values))
        return pause_s

    async def find_unacknowledged(self) -> Unacknowledged | None:
        """Return what is known of the reports whose answer was no acknowledgement, if any wait."""
        where = {
            "state": {"$in": [RowState.CLAIMED, RowState.KEPT]},
            "report_error.code": BadAnswer.code,
            "report_error.dependency": UPSTREAM,
        }
        count = await self._documents.count(ROWS, where)
        found = await self._documents.find(ROWS, where, sort="report_error.since", limit=1)
        if not count or not found:
            return None
        error = found[0]["report_error"]
        return Unacknowledged(count, datetime.fromtimestamp(error["since"], UTC), error["message"])

    async def find_trouble(self) -> BadAnswer | None:
        """Return the error of a run whose reports nobody acknowledges, if any wait."""
        waiting = await self.find_unacknowledged()
        return waiting and BadAnswer(UPSTREAM, str(waiting))

    async def purge(self) -> int:
        """Delete the results that are past their time."""
        past = {"expires_at": {"$lt": self._clock.unix_s()}}
        return await self._documents.delete(RESULTS, past, limit=10_000)

    async def _save_results(self, claims: Sequence[Claim]) -> None:
        """Save reports beyond their rows' end, for a while; those of pushed tasks as long."""
        now_s, updates = self._clock.unix_s(), list[Update]()
        for claim in claims:
            is_pushed = claim.entry.origin == "pushed"
            ttl_s = self._pushed_ttl_s if is_pushed else self._result_ttl_s
            if ttl_s > 0:
                values = {"payload": claim.body, "expires_at": now_s + ttl_s}
                updates.append(Update(claim.row_id, Change(set=values)))
        if updates:
            await self._documents.upsert(RESULTS, updates)

    async def _finish(
        self, claims: Sequence[Claim], state: RowState, values: Mapping[str, Any]
    ) -> list[Claim]:
        now_s = self._clock.unix_s()
        finished = {"state": state, "finished_at": now_s, **self._rows.terms.released, **values}
        unset = ["payload", "report_error"]
        # Only what describes the result stays of a success; a dead letter may be replayed.
        conflict, success = Change(finished, unset), Change(finished, [*unset, "task_json"])

        def change_for(claim: Claim) -> Change:
            if state is not RowState.REPORTED:
                return conflict
            if (failure := failure_in(claim.body or b"")) is not None:
                dead = dead_values(failure["code"], failure["message"], now_s)
                return Change({**finished, **dead}, unset)
            task = claim.entry.task
            if isinstance(task, Task) and task.callback_route is not None:
                return Change({**finished, "callback_json": routing_json(task)}, success.unset)
            return success

        def counts_for(claim: Claim) -> Counts:
            if state is not RowState.REPORTED:
                return NOTHING
            failure = failure_in(claim.body or b"")
            if claim.is_resend:  # it was counted when it was reported first
                return NOTHING if failure is None else DEAD_LETTERS.add()
            code = None if failure is None else failure["code"]
            return counting.reported(claim.counted_type, now_s - claim.claimed_at, code)

        return await self._rows.move(claims, state, change_for, counts_for)


def _origin_of(outcome: Outcome) -> Counts:
    """Return what a kept result adds because of where it comes from."""
    made = outcome.result or {}
    fallback = FALLBACKS.add() if made.get("fallback") else NOTHING
    return merged(fallback, CACHED_RESULTS.add()) if made.get("cached") else fallback
