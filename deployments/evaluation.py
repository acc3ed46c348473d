"""Commands about evaluations: start one, wait for it, print the result."""

import asyncio
import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aletheia.quality.evaluation_report import EvaluationReport
from aletheia.quality.scores import PARTS, WEIGHTS
from aletheia.store.project_id import check_project_id
from deployments.runs import explain_end, wait_for_run
from tasks.clients.brain import get_evaluations
from tasks.evaluation import ask_for_evaluation, start_evaluation
from tasks.session import open_session


def evaluate(
    project_id: str,
    number: int | None,
    user_id: str,
    console: Console,
    *,
    department: str | None,
    is_forced: bool,
) -> EvaluationReport:
    """Start an evaluation at the workers, wait for it, and return the result.

    A version that was evaluated answers at once, unless it is forced.
    """
    check_project_id(project_id)

    async def start_and_wait() -> EvaluationReport:
        async with open_session():
            store = await get_evaluations(project_id)
            asked = await ask_for_evaluation(
                store,
                project_id,
                number,
                user_id,
                department=department,
                is_auto=False,
                is_forced=is_forced,
            )
            if asked.stored is not None:
                return EvaluationReport.from_document(asked.stored, was_stored=True)
            run_id = await start_evaluation(store, asked.request)
            console.print(f"Run {run_id}", markup=False)
            state = await wait_for_run(run_id, console)
            stored = await store.find_result(asked.request)
            if stored is None:
                raise explain_end(run_id, state, "; `--force` starts another one")
            return EvaluationReport.from_document(stored)

    return asyncio.run(start_and_wait())


def show(report: EvaluationReport, console: Console, *, as_json: bool) -> None:
    """Print an evaluation."""
    if as_json:
        console.print_json(json.dumps(report.model_dump(mode="json")))
        return
    colour = "green" if report.score >= report.threshold else "yellow"
    console.print(
        f"[bold]{escape(report.department_name)}[/]: [{colour}]{report.score:.1f}[/] of 100, "
        f"threshold {report.threshold:g}, {report.items} items, "
        f"{report.judges} of {report.judges_asked} judges"
    )
    if report.mock:
        console.print("[yellow]mock[/]: its judges were made up")
    if report.was_stored:
        console.print(f"[dim]evaluated at {report.evaluated_at}; --force does it again[/]")
    table = Table("part", "weight", "score", "counted", box=None, padding=(0, 2, 0, 0))
    for part in PARTS:
        score, counted = f"{report.scores[part]:.1f}", f"{report.counted[part]:.1f}"
        table.add_row(part, f"{WEIGHTS[part]:.0%}", score, counted)
    console.print(table)
    remarks = Table("", "part", "", box=None, padding=(0, 2, 0, 0))
    for finding in report.findings:
        remarks.add_row(finding.severity, finding.part, escape(finding.text))
    for suggestion in report.suggestions:
        remarks.add_row("suggestion", suggestion.part, escape(suggestion.text))
    if remarks.row_count:
        console.print(remarks)
    for fault in report.faults:
        console.print(f"not used: {fault.code}: {fault.message}", markup=False)
