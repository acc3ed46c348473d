"""What an evaluation leaves for an operator to look at."""

import re
from typing import Final

from prefect.artifacts import acreate_markdown_artifact

from aletheia.quality.evaluation_report import EvaluationReport, FindingRow, SuggestionRow
from aletheia.quality.scores import PARTS, WEIGHTS

KEY: Final = "evaluation"

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$-])")
_SHOWN_IDS: Final = 5


async def evaluation_page(report: EvaluationReport) -> None:
    """Leave a page with the score, its parts, findings and suggestions."""
    await acreate_markdown_artifact(
        markdown=describe(report),
        key=KEY,
        description=f"Evaluation of {plain(report.department_name)}: {report.score:.1f}",
    )


def describe(report: EvaluationReport) -> str:
    """Write an evaluation as markdown; what models and users wrote is quoted as plain text."""
    reached = "reached" if report.score >= report.threshold else "not reached"
    about = (
        f"{report.items} items of project `{report.project_id}`, version "
        f"`{report.version[:12]}`; threshold {report.threshold:g}, {reached}. "
        f"{report.judges} of {report.judges_asked} judges gave a score."
    )
    lines = [
        f"# {plain(report.department_name)}: {report.score:.1f} of 100",
        "",
        about,
    ]
    if report.mock:
        lines += ["", "**⚠ mock**: the judges of this evaluation were made up."]
    if report.was_stored:
        lines += ["", f"It was evaluated before, at {report.evaluated_at}."]
    lines += ["", "| part | weight | score | counted |", "|---|---|---|---|"]
    lines += [
        f"| {part} | {WEIGHTS[part]:.0%} | {report.scores[part]:.1f} | {report.counted[part]:.1f} |"
        for part in PARTS
    ]
    lines += ["", "## Findings", ""]
    if report.findings:
        lines += ["| severity | part | finding | by | items |", "|---|---|---|---|---|"]
        lines += [f"| {one.severity} | {_cells(one)} |" for one in report.findings]
    else:
        lines.append("None.")
    lines += ["", "## Suggestions", ""]
    if report.suggestions:
        lines += ["| part | suggestion | by | items |", "|---|---|---|---|"]
        lines += [f"| {_cells(one)} |" for one in report.suggestions]
    else:
        lines.append("None.")
    if report.faults:
        lines += ["", "## What could not be used", ""]
        lines += [f"- {plain(one.code)}: {plain(one.message)}" for one in report.faults]
    return "\n".join(lines)


def plain(text: str) -> str:
    """Write a text of others so that it stands in markdown as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _cells(one: FindingRow | SuggestionRow) -> str:
    shown = ", ".join(f"`{id_}`" for id_ in one.item_ids[:_SHOWN_IDS])
    left_out = len(one.item_ids) - _SHOWN_IDS
    ids = f"{shown} and {left_out} more" if left_out > 0 else shown
    return f"{one.part} | {plain(one.text)} | {one.source} | {ids}"
