"""The command `reconcile`: start the run, wait for it, print what differed."""

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.sorting import ArtifactSort
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aletheia.store.project_id import check_project_id
from deployments.runs import wait_for_run
from tasks.runs import start_run

DEPLOYMENT: Final = "reconcile/reconcile"

_COLUMNS: Final = ("project", "what", "before", "after", "examples")


@dataclass(frozen=True, slots=True)
class ReconcileEnd:
    """How a run ended, in Prefect's words, and the table it left, in a sentence too.

    Without a table `summary` is empty. Rows have the project, what differed, how often before and
    after, and examples.
    """

    run_id: str
    state: str
    reason: str
    summary: str
    rows: tuple[dict[str, Any], ...]

    @property
    def is_completed(self) -> bool:
        """Whether every project was reconciled."""
        return self.state == "completed"


def reconcile(project_id: str | None, console: Console) -> ReconcileEnd:
    """Start a comparison of the Brain with the store at the workers, and wait for its end.

    Without a project it is about all that had a gather run.
    """
    if project_id is not None:
        check_project_id(project_id)

    async def start_and_wait() -> ReconcileEnd:
        run_id = (await start_run(DEPLOYMENT, {"project_id": project_id})).id
        console.print(f"Run {run_id}", markup=False)
        state = await wait_for_run(run_id, console)
        found = await _read_table(run_id)
        return ReconcileEnd(str(run_id), state.type.value.lower(), state.message or "", *found)

    return asyncio.run(start_and_wait())


async def _read_table(run_id: UUID) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Read the table that a run left last, if it came to one."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=["reconcile"]),
                flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
            ),
            sort=ArtifactSort.CREATED_DESC,
            limit=1,
        )
    if not found:
        return "", ()
    summary = (found[0].description or "").replace("**", "")
    return summary, tuple(json.loads(str(found[0].data)))


def show(end: ReconcileEnd, console: Console, *, as_json: bool) -> None:
    """Print what differed, and how the run ended if it failed."""
    if as_json:
        console.print_json(json.dumps(asdict(end)))
        return
    if end.summary:
        console.print(end.summary, markup=False)
        table = Table(*_COLUMNS, box=None, padding=(0, 2, 0, 0))
        for row in end.rows:
            table.add_row(*(escape(str(row[name])) for name in _COLUMNS))
        console.print(table)
    if not end.is_completed:
        said = f"Run {end.run_id} is {end.state}: {end.reason or 'no reason was given'}"
        console.print(said, style="bold red", markup=False)
