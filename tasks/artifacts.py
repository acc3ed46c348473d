"""Artifacts of runs: progress bars, and the tables of a shift."""

import json
import time
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from prefect.artifacts import (
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate

from aletheia.analysis.model_manager import PullProgress
from aletheia.intake.dead_letters import DeadLetter
from aletheia.intake.models import ShiftReport
from aletheia.status import IntakeStatus

DOWNLOAD_EVERY_S: Final = 1.0
"""Between two updates of the progress bar of a download, seconds; the end is always shown."""


class Progress:
    """A progress bar on the page of the run."""

    def __init__(self, artifact: UUID, what: str) -> None:
        self._artifact, self._what = artifact, what
        self._shown = (0.0, what)

    @classmethod
    async def begin(cls, what: str) -> "Progress":
        """Create an empty bar on the page of the run."""
        return cls(await acreate_progress_artifact(progress=0, description=what), what)

    async def move(self, done: int, total: int, obstacle: str = "") -> None:
        """Set the bar to so many of so many, and say what is in the way."""
        share = 100.0 * min(done, total) / total if total else 0.0
        await self._show(share, f"{self._what}; {obstacle}" if obstacle else self._what)

    async def finish(self) -> None:
        """Fill the bar."""
        await self._show(100.0, self._what)

    async def _show(self, share: float, text: str) -> None:
        if (share, text) != self._shown:
            self._shown = (share, text)
            await aupdate_progress_artifact(self._artifact, share, text)


async def show_downloads(steps: AsyncIterable[PullProgress]) -> None:
    """Show a progress bar for each model that is downloaded."""
    bar: Progress | None = None
    model, shown_at = "", 0.0
    async for step in steps:
        if bar is None or step.model != model:
            if bar is not None:
                await bar.finish()
            model, shown_at = step.model, 0.0
            bar = await Progress.begin(f"download of {model}")
        if time.monotonic() - shown_at >= DOWNLOAD_EVERY_S:
            shown_at = time.monotonic()
            await bar.move(step.completed_bytes, step.total_bytes)
    if bar is not None:
        await bar.finish()


async def save_markdown(run_id: str, key: str, markdown: str, description: str) -> None:
    """Save a text as an artifact of a run, from any process."""
    await _save(run_id, "markdown", key, markdown, description)


async def save_table(
    run_id: str, key: str, rows: Sequence[Mapping[str, Any]], description: str
) -> None:
    """Save a table as an artifact of a run, from any process."""
    await _save(run_id, "table", key, json.dumps(rows), description)


async def _save(run_id: str, kind: str, key: str, data: str, description: str) -> None:
    artifact = ArtifactCreate(
        type=kind, key=key, data=data, description=description, flow_run_id=UUID(run_id)
    )
    async with get_client() as client:
        await client.create_artifact(artifact)


async def show_intake_status(overview: IntakeStatus) -> None:
    """Save a table of the state of the ledger."""
    rows = [
        {"what": f"rows {state}", "count": count}
        for state, count in sorted(overview.states.items())
    ]
    rows += [
        {"what": "leases held", "count": overview.held},
        {"what": "leases run out", "count": overview.expired},
        {"what": "pending tasks that hide others", "count": overview.blocked_head},
    ]
    rows += [
        {"what": f"dead letters {code}", "count": count}
        for code, count in sorted(overview.dead.items())
    ]
    state = "**paused**" if overview.is_paused else "open"
    description = "\n\n".join([f"Intake is {state}.", *overview.warnings()])
    await acreate_table_artifact(table=rows, key="intake-status", description=description)


async def show_dead_letters(dead_letters: Sequence[DeadLetter], total: int) -> None:
    """Save a table of dead letters."""
    await acreate_table_artifact(
        table=[dead_letter.as_row() for dead_letter in dead_letters],
        key="dead-letters",
        description=f"{total:,} dead letters, the newest first. `aletheia replay` replays them.",
    )


async def show_shift_report(report: ShiftReport) -> None:
    """Save a table of what a shift did."""
    tally = report.tally
    rows = [
        {"what": f"{task_type}: {outcome}", "tasks": count, "why": ""}
        for task_type, outcomes in sorted(tally.by_type.items())
        for outcome, count in sorted(outcomes.items())
    ]
    rows += [
        {"what": "failed", "tasks": count, "why": code}
        for code, count in sorted(tally.by_error.items())
    ]
    reasons = {
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
    rows += [
        {"what": name, "tasks": count, "why": why}
        for name, why in reasons.items()
        if (count := getattr(tally, name))
    ]
    rows += [
        {"what": f"made by {name}", "tasks": count, "why": ""}
        for name, count in sorted(tally.by_model.items())
    ]
    rows += [
        {"what": f"deferred: {group}", "tasks": 0, "why": reason}
        for group, reason in sorted(tally.deferred.items())
    ]
    done = tally.succeeded + tally.failed
    pace = done / report.seconds if report.seconds else 0.0
    await acreate_table_artifact(
        table=rows or [{"what": "nothing was pending", "tasks": 0, "why": ""}],
        key="shift-report",
        description=(
            f"**{done} tasks** in {report.seconds:.1f} s ({pace:.0f} a second), "
            f"{tally.tokens:,} tokens, {tally.pages} pages in {report.ticks} ticks. "
            f"Ended: {report.ended.replace('_', ' ')}."
        ),
    )
