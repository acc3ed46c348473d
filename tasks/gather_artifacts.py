"""The artifacts of a gather run: its report, a table of dropped duplicates, and a picture."""

import asyncio
import base64
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from prefect.logging import get_logger

from aletheia.adapters.quality_picture import draw_quality
from aletheia.escaping import escape_markdown as escape
from aletheia.gather.progress import WARNINGS, GatherReport, Run, find_unreadable
from aletheia.items.calibration import Calibration
from aletheia.items.calibration_store import ChosenCalibration
from aletheia.items.decisions import PossibleRepetition
from tasks.artifacts import code, save_markdown, save_table
from tasks.clients.content import get_calibrations, get_content, get_decisions

NO_DEPARTMENT: Final = "No department takes part in gathering"

MAX_ROWS: Final = 200  # duplicates in a table
MAX_WARNINGS: Final = 50
MAX_ITEM_CHARS: Final = 200  # of an item in a table

log = get_logger(__name__)


async def show_run(run: Run, *, is_mock: bool) -> None:
    """Save the artifacts of a run that is over; a failure is only logged."""
    assert run.report is not None
    await _try("report", _show_report(run, run.report))
    await _try("table of duplicates", _show_duplicates(run))
    await _try("table of possible repetitions", _show_possible(run))
    await _try("picture of its quality", _show_picture(run, is_mock=is_mock))


async def _show_picture(run: Run, *, is_mock: bool) -> None:
    # In a thread: it takes a second, in which leases are renewed and events are sent.
    picture = await asyncio.to_thread(draw_quality, run.progress, run.project_id, is_mock=is_mock)
    # Not as an image artifact: its page would show the whole data URL as text.
    url = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"
    page = f"![Quality over iterations]({url})"
    await save_markdown("gather-quality", page, "Quality over iterations.", run.id)


async def _try(what: str, saving: Awaitable[None]) -> None:
    try:
        await saving
    except Exception as error:  # noqa: BLE001 - the run is over, and stays as it is
        log.warning("the %s of the run could not be saved: %s", what, error)


async def _show_report(run: Run, report: GatherReport) -> None:
    """Save a page with the outcome of each department."""
    seconds = report.processing_time_ms / 1000
    rows = [
        f"| {escape(summary.name)} | {_score(summary.quality_score)} | {progress.threshold:g} "
        f"| {_judged(progress.gate)} | {summary.iterations} | {summary.items_created} "
        f"| {_reason(progress.reason)} |"
        for summary, progress in zip(report.summary, run.progress.departments, strict=True)
    ]
    head = (
        f"**{report.items_created} items** for {report.departments_processed} departments of "
        f"project `{run.project_id}` in {report.iterations} iterations and {seconds:.1f} s: "
        f"{report.status}."
    )
    columns = (
        "| department | quality | threshold | judges: answers, mean ± spread, bound | iterations "
        "| items | why it ended |"
    )
    page = [head, "", columns, "|---|---|---|---|---|---|---|", *rows]
    if not rows:
        page = [f"⚠ {NO_DEPARTMENT}."]
    if unreadable := find_unreadable(run.progress):
        page += ["", f"⚠ **The run was in vain**: {escape(unreadable)}."]
    if run.warnings:
        warnings = [f"- {escape(warning)}" for warning in run.warnings[:MAX_WARNINGS]]
        page += ["", "What was skipped, or is unusual:", "", *warnings]
    chosen = await (await get_calibrations()).find_chosen(run.id)
    if chosen is not None:
        page += ["", describe_calibration(chosen)]
    await save_markdown("gather-report", "\n".join(page), "The result of the run.", run.id)


async def _show_duplicates(run: Run) -> None:
    """Save a table of what was dropped, as the duplicate of what, and how to undo it."""
    decisions = await get_decisions(run.project_id)
    dropped = sorted(
        await decisions.list_dropped(run_id=run.id),
        key=lambda decision: (decision.position, decision.iteration, decision.place),
    )
    shown = dropped[-MAX_ROWS:]
    ids = list({row.decision.match_id for row in shown if row.decision.match_id is not None})
    content = await get_content(run.project_id)
    matches = await content.read_items(ids) if ids else {}
    rows = [
        {
            "department": row.department_name,
            "iteration": row.iteration,
            "dropped": _short(row.item.content),
            "repeats": _short(matches[match].content)
            if (match := row.decision.match_id) in matches
            else str(match),
            "found by": row.decision.tier.replace("_", " "),
            "similarity": "" if row.decision.score is None else f"{row.decision.score:.3f}",
            "why": row.decision.reason,
            "decision": row.id,
        }
        for row in shown
    ]
    left_out = f" The last {MAX_ROWS} are shown." if len(dropped) > MAX_ROWS else ""
    undo = f" `aletheia gather undo {run.project_id} DECISION` saves one." if rows else ""
    description = f"**{len(dropped)} items** repeated others and were dropped.{left_out}{undo}"
    rows = rows or [{"dropped": "nothing was dropped"}]
    await save_table("gather-duplicates", rows, description, run.id)


async def _show_possible(run: Run) -> None:
    """Save a table of what was kept although it may repeat something, the most probable first."""
    decisions, content = await get_decisions(run.project_id), await get_content(run.project_id)
    possible = await decisions.list_possible(content, run_id=run.id)
    possible.sort(key=lambda pair: -_rank_possible(pair))
    rows: list[dict[str, Any]] = [_describe_possible(pair) for pair in possible[:MAX_ROWS]]
    left_out = f" The {MAX_ROWS} most probable are shown." if len(possible) > MAX_ROWS else ""
    drop = f" `aletheia gather drop {run.project_id} PAIR` drops one." if rows else ""
    description = (
        f"**{len(possible)} items** were kept although they may repeat others.{left_out}{drop}"
    )
    rows = rows or [{"kept": "nothing that was kept may be a repetition"}]
    await save_table("gather-possible-repetitions", rows, description, run.id)


def _rank_possible(pair: PossibleRepetition) -> float:
    decision = pair.kept.decision
    return decision.cosine or 0.0 if decision.score is None else 1 + decision.score


def _describe_possible(pair: PossibleRepetition) -> dict[str, Any]:
    kept, decision = pair.kept, pair.kept.decision
    return {
        "department": kept.department_name,
        "iteration": kept.iteration,
        "kept": _short(kept.item.content),
        "may repeat": _short(pair.match.content),
        "probability": "unknown" if decision.score is None else f"{decision.score:.2f}",
        "why": decision.reason,
        "pair": kept.id,
    }


def describe_calibration(chosen: ChosenCalibration) -> str:
    """Describe what is dropped by which scale, and whether that is another one than before."""
    source = {
        "stored": "by the calibration that is stored for",
        "shipped": "by the calibration that comes with Aletheia for",
        "identity": "⚠ without any calibration of",
    }[chosen.source]
    said = f"{_describe_threshold(chosen.calibration)} {source} {code(chosen.calibration.model)}."
    if chosen.is_changed:
        said += " ⚠ `calibrate` has run since the last run of this project: its scale has changed."
    if chosen.is_newer_shipped:
        said += (
            " Another calibration comes with Aletheia now; this project's scale stays as it was "
            "until `calibrate` runs."
        )
    return said


def _describe_threshold(calibration: Calibration) -> str:
    if calibration.unjudged_from is None:
        return "Without a judge, only items of the same words are dropped,"
    score = calibration.unjudged_from
    if calibration.similarity is None:
        score_of = f"a raw cosine of {calibration.to_cosine(score):.4f}"
        return f"Without a judge, items are dropped from a similarity of {score:.2f}, {score_of},"
    return (
        f"Items are repetitions at a probability of {score:.2f} without a judge, and at any if a "
        "judge says so,"
    )


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.1f}"


def _judged(gate: Mapping[str, Any]) -> str:
    """Describe what judges made of a department, see `Estimate.to_document`."""
    if not gate.get("answers"):
        return "none"
    mean, spread, bound = gate["mean"], gate["spread"], gate["bound"]
    return f"{gate['answers']}, {mean:.1f} ± {spread:.1f}, {bound:.1f}"


def _reason(reason: Any) -> str:
    if reason is None:
        return "the run was cancelled"
    words = str(reason).replace("_", " ")
    return f"⚠ {words}" if reason in WARNINGS else words


def _short(text: str) -> str:
    return text if len(text) <= MAX_ITEM_CHARS else f"{text[:MAX_ITEM_CHARS]}…"
