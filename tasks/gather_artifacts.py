"""What a gather run leaves for an operator to look at."""

from typing import Any, Final

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from aletheia.gather.content import ContentStore
from aletheia.gather.loop import BATCH_STEP, DEDUP_STEP
from aletheia.gather.progress import WARNINGS, GatherReport
from aletheia.gather.runs import GatherRuns, Run

MOST_ROWS: Final = 200
"""Duplicates in a table."""

_SHOWN: Final = 200
"""Characters of an item in a table."""


async def gather_report(run: Run, report: GatherReport) -> None:
    """Leave a page with what became of each department."""
    seconds = report.processing_time_ms / 1000
    rows = [
        f"| {_cell(one.name)} | {_score(one.quality_score)} | {known.threshold:g} "
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
    await acreate_markdown_artifact(
        markdown="\n".join(page), key="gather-report", description="What the run came to."
    )


async def dropped_duplicates(run: Run, runs: GatherRuns, content: ContentStore) -> None:
    """Leave a table of what was dropped, as the duplicate of what."""
    dropped: list[tuple[str, int, str, dict[str, Any]]] = []
    for position, one in enumerate(run.progress.departments):
        for done in one.iterations:
            if done.kept == done.generated:
                continue
            steps = runs.answers(run, position, done.number)
            batch = await steps.find_values(BATCH_STEP)
            decisions = await steps.find_values(DEDUP_STEP)
            if batch is None or decisions is None:
                continue
            dropped += [
                (one.department.name, done.number, item["content"], decision)
                for item, decision in zip(batch["items"], decisions, strict=True)
                if not decision["is_kept"]
            ]
    shown = dropped[-MOST_ROWS:]
    ids = list({found["match_id"] for *_, found in shown if found["match_id"] is not None})
    matches = await content.read_items(ids) if ids else {}
    rows = [
        {
            "department": name,
            "iteration": number,
            "dropped": _short(text),
            "repeats": _short(matches[match].content)
            if (match := found["match_id"]) in matches
            else str(match),
            "found by": found["tier"].replace("_", " "),
            "similarity": "" if found["score"] is None else f"{found['score']:.3f}",
            "why": found["reason"],
        }
        for name, number, text, found in shown
    ]
    left_out = f" The last {MOST_ROWS} are shown." if len(dropped) > MOST_ROWS else ""
    await acreate_table_artifact(
        table=rows or [{"dropped": "nothing was dropped"}],
        key="gather-duplicates",
        description=f"**{len(dropped)} items** repeated others and were dropped.{left_out}",
    )


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.1f}"


def _reason(reason: Any) -> str:
    if reason is None:
        return "the run was cancelled"
    words = str(reason).replace("_", " ")
    return f"⚠ {words}" if reason in WARNINGS else words


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
