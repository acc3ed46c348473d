"""What a shift shows on the page of its run: a progress bar while it works, tables at its end."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from prefect import get_run_logger
from prefect.runtime import flow_run

from aletheia.intake.models import IntakeStatus, ShiftReport
from aletheia.intake.shift import Shift
from aletheia.store.patience import Patience
from tasks import artifacts, status

MAX_DEAD_LETTERS: Final = 200
"""Rows of the table of dead letters."""

_REASONS: Final = {
    "taken_over": "left by an earlier shift",
    "resent": "listed as pending again after their report",
    "waiting": "a provider or model is down",
    "deferred_reports": "the upstream did not take the report; sent again later",
    "conflicts": "settled elsewhere",
    "dead": "the upstream refuses the claim or the report",
    "refused_replays": "dead letters that stay; the ledger says why",
    "superseded": "the upstream changed the task meanwhile",
    "rejected": "entries that have no usable id, or cannot be worked on",
    "lost_leases": "somebody else took over",
    "blocked_head": "pending tasks that must wait",
    "fallbacks": "made by another provider, as the first was down",
    "cached": "made before, for no tokens",
}
"""Why tasks are counted under a field of the tally."""


class ShiftView:
    """The artifacts of a shift."""

    def __init__(self, shift: Shift, patience: Patience) -> None:
        self._shift, self._patience = shift, patience
        self._is_reported = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Show the progress of a shift, and its report at the end, also of an interrupted one."""
        bar = artifacts.Progress("tasks reported")
        try:
            async with artifacts.moving_bar(bar, self._read):
                yield
        finally:
            if not self._is_reported:
                await asyncio.shield(self._report_interrupted())

    def _read(self) -> tuple[float, str]:
        if self._is_reported:
            return 100, ""
        tally, patience = self._shift.poller.held.tally, self._patience
        done, claimed = tally.succeeded + tally.failed, tally.claimed + tally.taken_over
        obstacle = ""
        if (waited_s := patience.waited_s) is not None:
            obstacle = f"the store is waited for, {waited_s:.0f} s: {patience.reason}"
        return 100 * min(done, claimed) / claimed if claimed else 0, obstacle

    async def save_report(self) -> ShiftReport:
        """Save the tables; return what the shift did."""
        self._is_reported = True
        report = self._shift.report()
        await _save_shift_report(report)
        ledger = self._shift.poller.held.ledger
        system = await status.read_system_status(ledger.overview, str(flow_run.id))
        await _save_intake_status(system.intake)
        if total := sum(system.intake.dead.values()):
            newest = await ledger.dead_letters.newest(limit=MAX_DEAD_LETTERS)
            await artifacts.save_table(
                "dead-letters",
                [dead_letter.as_row() for dead_letter in newest],
                f"{total:,} dead letters, the newest first. `aletheia replay` replays them.",
            )
        await status.show_status(system)
        return report

    async def _report_interrupted(self) -> None:
        try:
            await self.save_report()
        except Exception:  # noqa: BLE001 - the run has to fail with whatever ended the shift
            get_run_logger().exception("the report of the shift could not be saved")


async def _save_intake_status(overview: IntakeStatus) -> None:
    """Save a table of the state of the ledger."""
    counts = {
        **{f"rows {state}": count for state, count in sorted(overview.states.items())},
        "leases held": overview.held,
        "leases run out": overview.expired,
        "pending tasks that hide others": overview.blocked_head,
        **{f"dead letters {code}": count for code, count in sorted(overview.dead.items())},
    }
    rows = [{"what": what, "count": count} for what, count in counts.items()]
    state = "**paused**" if overview.is_paused else "open"
    description = "\n\n".join([f"Intake is {state}.", *overview.warnings()])
    await artifacts.save_table("intake-status", rows, description)


async def _save_shift_report(report: ShiftReport) -> None:
    """Save a table of what a shift did."""
    tally = report.tally
    lines = [
        *(
            (f"{task_type}: {outcome}", count, "")
            for task_type, outcomes in sorted(tally.by_type.items())
            for outcome, count in sorted(outcomes.items())
        ),
        *(("failed", count, code) for code, count in sorted(tally.by_error.items())),
        *((name, count, why) for name, why in _REASONS.items() if (count := getattr(tally, name))),
        *((f"made by {name}", count, "") for name, count in sorted(tally.by_model.items())),
        *((f"deferred: {group}", 0, reason) for group, reason in sorted(tally.deferred.items())),
    ]
    rows = [
        {"what": what, "tasks": count, "why": why}
        for what, count, why in lines or [("nothing was pending", 0, "")]
    ]
    done = tally.succeeded + tally.failed
    pace = done / report.seconds if report.seconds else 0.0
    description = (
        f"**{done} tasks** in {report.seconds:.1f} s ({pace:.0f} a second), "
        f"{tally.tokens:,} tokens, {tally.pages} pages in {report.ticks} ticks. "
        f"Ended: {report.ended.replace('_', ' ')}."
    )
    await artifacts.save_table("shift-report", rows, description)
