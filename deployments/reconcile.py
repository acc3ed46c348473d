"""The command `reconcile`: start the run, wait for it, print what differed."""

from typing import Annotated, Any
from uuid import UUID

import typer
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.sorting import ArtifactSort
from rich.markup import escape

from aletheia.store.project_id import check_project_id
from deployments.console import console
from deployments.explaining import JsonOption, plain_table
from deployments.runs import in_session, start_and_wait
from tasks.artifacts import read_table

app = typer.Typer()


@app.command()
@in_session
async def reconcile(
    project: Annotated[
        str | None, typer.Argument(help="Without one: all that had a gather run.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the Brain with what is saved and repair it; wait, and print what differed."""
    if project is not None:
        check_project_id(project)
    run, state = await start_and_wait("reconcile/reconcile", {"project_id": project})
    summary, rows = await _read_table(run.id)
    end = {"run_id": str(run.id), "state": state.type.value.lower(), "reason": state.message or ""}
    if as_json:
        console.print_json(data=end | {"summary": summary, "rows": rows})
    else:
        _show(end, summary, rows)
    if not state.is_completed():
        raise typer.Exit(1)


async def _read_table(run_id: UUID) -> tuple[str, list[dict[str, Any]]]:
    """Read the table that a run left last, if it came to one: a sentence about it, and its rows."""
    wanted = {"key": {"any_": ["reconcile"]}, "flow_run_id": {"any_": [run_id]}}
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter.model_validate(wanted),
            sort=ArtifactSort.CREATED_DESC,
            limit=1,
        )
    if not found:
        return "", []
    return (found[0].description or "").replace("**", ""), read_table(str(found[0].data))


def _show(end: dict[str, str], summary: str, rows: list[dict[str, Any]]) -> None:
    if summary:
        console.print(summary, markup=False)
        names = ("project", "what", "before", "after", "examples")
        table = plain_table(*names)
        for row in rows:
            table.add_row(*(escape(str(row[name])) for name in names))
        console.print(table)
    if end["state"] != "completed":
        said = f"Run {end['run_id']} is {end['state']}: {end['reason'] or 'no reason was given'}"
        console.print(said, style="bold red", markup=False)
