"""The command `evaluate`: start an evaluation, wait for it, print the result."""

from typing import Annotated

import typer
from rich.markup import escape

from aletheia.quality.evaluation import EvaluationReport
from aletheia.quality.scores import PARTS, WEIGHTS
from aletheia.store.project_id import check_project_id
from deployments.console import console, progress
from deployments.explaining import JsonOption, ProjectArgument, UserOption, plain_table
from deployments.runs import explain_end, in_session, wait_for_run
from tasks.auditing import record_command
from tasks.clients.brain import get_evaluations
from tasks.clients.store import get_store
from tasks.evaluation import ask_for_evaluation, start_evaluation

app = typer.Typer()


@app.command()
@in_session
async def evaluate(
    project: ProjectArgument,
    number: Annotated[
        int | None, typer.Argument(help="codeDepNumber of the department, if it has one.")
    ] = None,
    department: Annotated[
        str | None, typer.Option(help="Its slug, where the number does not name one.")
    ] = None,
    *,
    user: UserOption = "operator",
    force: Annotated[bool, typer.Option("--force", help="Again, if it was evaluated.")] = False,
    as_json: JsonOption = False,
) -> EvaluationReport:
    """Evaluate a department as it is now, wait for the result and print it."""
    check_project_id(project)
    store = await get_evaluations(project)
    asked = await ask_for_evaluation(
        store, project, number, user, department=department, is_auto=False, is_forced=force
    )
    stored = asked.stored
    if stored is None:
        wanted = {"project_id": project, "department": asked.request.department, "force": force}
        await record_command(await get_store(), "evaluate", {**wanted, "user_id": user})
        run_id = await start_evaluation(store, asked.request)
        progress.print(f"Run {run_id}", markup=False)
        state = await wait_for_run(run_id)
        stored = await store.find_result(asked.request)
        if stored is None:
            raise explain_end(run_id, state, "; `--force` starts another one")
    report = EvaluationReport.from_document(stored, was_stored=asked.stored is not None)
    show(report, as_json=as_json)
    return report


def show(report: EvaluationReport, *, as_json: bool) -> None:
    """Print an evaluation."""
    if as_json:
        console.print_json(data=report.model_dump(mode="json"))
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
    table = plain_table("part", "weight", "score", "counted")
    for part in PARTS:
        score, counted = f"{report.scores[part]:.1f}", f"{report.counted[part]:.1f}"
        table.add_row(part, f"{WEIGHTS[part]:.0%}", score, counted)
    console.print(table)
    remarks = plain_table("", "part", "")
    for finding in report.findings:
        remarks.add_row(finding.severity, finding.part, escape(finding.text))
    for suggestion in report.suggestions:
        remarks.add_row("suggestion", suggestion.part, escape(suggestion.text))
    if remarks.row_count:
        console.print(remarks)
    for fault in report.faults:
        console.print(f"not used: {fault.code}: {fault.message}", markup=False)
