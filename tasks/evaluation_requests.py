"""Requests for evaluations, and the runs that are started for them (SPEC §4, Evaluation)."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from prefect import get_run_logger

from aletheia.errors import AletheiaError
from aletheia.items.departments import Department
from aletheia.quality.evaluation_store import EvaluationRequest, EvaluationStore, Requested
from tasks.clients.content import get_content
from tasks.clients.departments import get_departments
from tasks.runs import read_run, start_run

DEPLOYMENT: Final = "evaluate_department/evaluate_department"


async def ask_for_evaluation(
    store: EvaluationStore,
    project_id: str,
    department_number: int | None,
    user_id: str,
    *,
    department: str | None,
    is_auto: bool,
    is_forced: bool,
    run_id: str | None = None,
) -> Requested:
    """Request that a department is evaluated with the items it has now.

    `department_number`, `department`: which one; see `DepartmentList.choose`.

    Raises:
        InvalidTask: `unknown_department`, `ambiguous_department`.
        AletheiaError: the departments or the items cannot be read.
    """
    listed = await (await get_departments()).list_departments()
    chosen = listed.choose(department_number, department)
    item_ids = await (await get_content(project_id)).list_department(chosen.slug)
    return await store.request(
        chosen, item_ids, user_id=user_id, is_auto=is_auto, is_forced=is_forced, run_id=run_id
    )


async def ensure_evaluation(
    store: EvaluationStore, department: Department, item_ids: Sequence[str], user_id: str
) -> str:
    """Ensure that a department is evaluated with these items; return the key of the request.

    If the run of the request ended without a result, a new request is made.
    """
    asked = await store.request(department, item_ids, user_id=user_id, is_auto=True)
    if asked.stored is None and await _has_failed(store, asked.request):
        asked = await store.request(
            department, item_ids, user_id=user_id, is_auto=True, is_forced=True
        )
    await start_waiting(store)
    return asked.request.key


async def start_waiting(store: EvaluationStore) -> None:
    """Start the requests of a project without a run; after one that fails, the others wait."""
    for request in await store.list_without_run():
        try:
            await start_evaluation(store, request)
        except AletheiaError as error:
            get_run_logger().warning(
                "the evaluation of %s waits for the sweep: %s", request.department, error
            )
            break


async def start_evaluation(store: EvaluationStore, request: EvaluationRequest) -> UUID:
    """Start a run for a request; return the one that was started for it before, if there is one.

    Raises:
        Unavailable: Prefect does not answer.
    """
    run = await start_run(
        DEPLOYMENT,
        {
            "project_id": request.project_id,
            "department_number": request.department_number,
            "user_id": request.user_id,
            "auto_triggered": request.is_auto,
            "department": request.department,
        },
        name=f"{request.project_id}-{request.department}",
        idempotency_key=request.key,
    )
    await store.mark_started(request, str(run.id))
    return run.id


async def _has_failed(store: EvaluationStore, request: EvaluationRequest) -> bool:
    """Check whether the run of a request is over without a result; if nobody knows, it is not."""
    if request.run_id is None:
        return False
    try:
        run = await read_run(request.run_id)
    except Exception as outage:  # noqa: BLE001 - the request waits as it is
        get_run_logger().warning("the run of %s is not known: %s", request.key, outage)
        return False
    if run is not None and run.state is not None and not run.state.is_final():
        return False
    # It may have saved its result meanwhile.
    return await store.find_result(request) is None
