"""What a gather run leaves for an operator to look at."""

from typing import Any, Final

from aletheia.gather.models import Run
from aletheia.gather.progress import WARNINGS, GatherReport
from aletheia.items.calibration import DUPLICATE_AT
from aletheia.items.calibration_store import ChosenCalibration
from aletheia.items.content import ContentStore
from tasks.artifacts import leave_markdown, leave_table
from tasks.clients.content import get_calibrations, get_decisions
from tasks.evaluation_artifacts import plain

MAX_ROWS: Final = 200
"""Duplicates in a table."""

MAX_WARNINGS: Final = 50

_SHOWN: Final = 200
"""Characters of an item in a table."""


async def gather_report(run: Run, report: GatherReport) -> None:
    """Leave a page with what became of each department."""
    seconds = report.processing_time_ms / 1000
    rows = [
        f"| {plain(one.name)} | {_score(one.quality_score)} | {known.threshold:g} "
        f"| {one.iterations} | {one.items_created} | {_reason(known.reason)} |"
        for one, known in zip(report.summary, run.progress.departments, strict=True)
    ]
    head = (
        f"**{report.items_created} items** for {report.departments_processed} departments of "
        f"project `{run.project_id}` in {report.iterations} iterations and {seconds:.1f} s: "
        f"{report.status}."
    )
    page = [
        head,
        "",
        "| department | quality | threshold | iterations | items | why it ended |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    if run.warnings:
        odd = [f"- {plain(one)}" for one in run.warnings[:MAX_WARNINGS]]
        page += ["", "Odd about the departments, or passed over:", "", *odd]
    chosen = await (await get_calibrations()).find_chosen(run.id)
    if chosen is not None:
        page += ["", describe_calibration(chosen)]
    await leave_markdown(run.id, "gather-report", "\n".join(page), "What the run came to.")


async def dropped_duplicates(run: Run, content: ContentStore) -> None:
    """Leave a table of what was dropped, as the duplicate of what, and how to undo it."""
    decisions = await get_decisions(run.project_id)
    dropped = sorted(
        await decisions.list_dropped(run_id=run.id),
        key=lambda one: (one.position, one.iteration, one.place),
    )
    shown = dropped[-MAX_ROWS:]
    ids = list({one.decision.match_id for one in shown if one.decision.match_id is not None})
    matches = await content.read_items(ids) if ids else {}
    rows = [
        {
            "department": plain(one.department_name),
            "iteration": one.iteration,
            # Prefect shows the cells of a table as markdown.
            "dropped": plain(_short(one.item.content)),
            "repeats": plain(_short(matches[match].content))
            if (match := one.decision.match_id) in matches
            else plain(str(match)),
            "found by": one.decision.tier.replace("_", " "),
            "similarity": "" if one.decision.score is None else f"{one.decision.score:.3f}",
            "why": plain(one.decision.reason),
            "decision": one.id,
        }
        for one in shown
    ]
    left_out = f" The last {MAX_ROWS} are shown." if len(dropped) > MAX_ROWS else ""
    undo = f" `aletheia gather undo {run.project_id} DECISION` saves one." if rows else ""
    await leave_table(
        run.id,
        "gather-duplicates",
        rows or [{"dropped": "nothing was dropped"}],
        f"**{len(dropped)} items** repeated others and were dropped.{left_out}{undo}",
    )


def describe_calibration(chosen: ChosenCalibration) -> str:
    """Say in a sentence when two items are the same."""
    source = {
        "stored": "by the calibration that is stored for",
        "shipped": "by the calibration that comes with Aletheia for",
        "identity": "⚠ as nothing is known of",
    }[chosen.source]
    return (
        f"Two items are the same at a similarity of {DUPLICATE_AT:.2f}, which is a raw cosine of "
        f"{chosen.duplicate_at_cosine:.4f} {source} `{chosen.calibration.model}`."
    )


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.1f}"


def _reason(reason: Any) -> str:
    if reason is None:
        return "the run was cancelled"
    words = str(reason).replace("_", " ")
    return f"⚠ {words}" if reason in WARNINGS else words


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
