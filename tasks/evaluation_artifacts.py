"""The artifact of an evaluation: a page with its result."""

import re
from typing import Final

from prefect.artifacts import acreate_markdown_artifact

from aletheia.quality.evaluation_report import EvaluationReport
from aletheia.quality.remarks import Suggestion
from aletheia.quality.scores import PARTS, WEIGHTS

KEY: Final = "evaluation"

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$-])")
MAX_IDS: Final = 5
"""Item ids beside a finding."""


async def save_evaluation_page(report: EvaluationReport) -> None:
    """Save a page with the score, its parts, findings and suggestions."""
    await acreate_markdown_artifact(
        markdown=describe(report),
        key=KEY,
        description=f"Evaluation of {escape(report.department_name)}: {report.score:.1f}",
    )


def describe(report: EvaluationReport) -> str:
    """Describe an evaluation as markdown; what models and users wrote is escaped."""
    reached = "reached" if report.score >= report.threshold else "not reached"
    about = (
        f"{report.items} items of project `{report.project_id}`, version "
        f"`{report.version[:12]}`; threshold {report.threshold:g}, {reached}. "
        f"{report.judges} of {report.judges_asked} judges gave a score."
    )
    lines = [
        f"# {escape(report.department_name)}: {report.score:.1f} of 100",
        "",
        about,
    ]
    if report.mock:
        lines += ["", "**⚠ mock**: a mock judged this evaluation."]
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
        lines += [f"| {finding.severity} | {_cells(finding)} |" for finding in report.findings]
    else:
        lines.append("None.")
    lines += ["", "## Suggestions", ""]
    if report.suggestions:
        lines += ["| part | suggestion | by | items |", "|---|---|---|---|"]
        lines += [f"| {_cells(suggestion)} |" for suggestion in report.suggestions]
    else:
        lines.append("None.")
    if report.faults:
        lines += ["", "## What could not be used", ""]
        lines += [f"- {escape(fault.code)}: {escape(fault.message)}" for fault in report.faults]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Escape a text so that markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _cells(remark: Suggestion) -> str:
    shown = ", ".join(f"`{id_}`" for id_ in remark.item_ids[:MAX_IDS])
    left_out = len(remark.item_ids) - MAX_IDS
    ids = f"{shown} and {left_out} more" if left_out > 0 else shown
    return f"{remark.part} | {escape(remark.text)} | {remark.source} | {ids}"
