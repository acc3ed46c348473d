"""The steps of an evaluation, and how the runs that take them are started (SPEC §4, Evaluation)."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from aletheia.errors import AletheiaError
from aletheia.items.content import oldest_first
from aletheia.items.departments import Department
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.llm.noted_failures import NotedFailures
from aletheia.quality.evaluation import Evaluation, evaluate_items
from aletheia.quality.evaluation_report import EvaluationReport
from aletheia.quality.evaluation_store import (
    EvaluationOrder,
    EvaluationRequest,
    EvaluationStore,
    Requested,
)
from aletheia.quality.scores import QualityItem
from aletheia.store.project_id import check_project_id
from tasks import cancelling, evaluation_artifacts
from tasks.clients.brain import get_brain_access, get_brain_items, get_outbox
from tasks.clients.chat import get_chat
from tasks.clients.content import get_content
from tasks.clients.departments import get_departments
from tasks.clients.store import get_store
from tasks.policies import STEP
from tasks.retrying import is_worth_waiting, plan_retry
from tasks.runs import read_run, start_run
from tasks.session import current_session, open_session

DEPLOYMENT: Final = "evaluate_department/evaluate_department"

_KEY_BEGINS: Final = "eval:"


@contextlib.asynccontextmanager
async def opened_evaluation(project_id: str) -> AsyncGenerator[None]:
    """Open the session of an evaluation; after a failure, plan another attempt if one helps.

    Raises:
        InvalidTask: `invalid_project_id`.
    """
    async with cancelling.heard():
        try:
            check_project_id(project_id)
            async with open_session():
                yield
        except Exception as error:
            await plan_retry(error)
            raise


@task(name="find_request", task_run_name="find-request", **STEP)
async def find_request(
    project_id: str,
    department_number: int | None,
    user_id: str,
    *,
    is_auto: bool,
    is_forced: bool,
    department: str | None,
) -> str:
    """Return the key of the request that this run is for; make a request if there is none."""
    store, run_id = await open_evaluations(project_id), str(flow_run.id)
    if (known := await store.find_key(run_id)) is not None:
        return known
    run = await read_run(run_id)
    key = "" if run is None else run.idempotency_key or ""
    if key.startswith(_KEY_BEGINS):
        order = await store.find_order(key)
        if order is not None:
            await store.mark_started(order.request, run_id)
            return key
        get_run_logger().warning("there is no request %s; the run goes by its parameters", key)
    asked = await ask_for_evaluation(
        store,
        project_id,
        department_number,
        user_id,
        department=department,
        is_auto=is_auto,
        is_forced=is_forced,
        run_id=run_id,
    )
    return asked.request.key


@task(name="evaluate_request", task_run_name="evaluate", **STEP)
async def evaluate_request(project_id: str, key: str) -> EvaluationReport:
    """Evaluate the items of a request and save the result, unless that was done before."""
    store = await open_evaluations(project_id)
    order = await store.find_order(key)
    assert order is not None, key
    async with store.holding(order.request, str(flow_run.id)) as stored:
        if stored is not None:
            get_run_logger().info("it was evaluated before, at %s", stored["evaluated_at"])
            return EvaluationReport.from_document(stored, was_stored=True)
        evaluation = await _evaluate(order)
        return EvaluationReport.from_document(await store.save(order.request, evaluation))


@task(name="deliver_to_brain", task_run_name="deliver-to-brain", **STEP)
async def deliver_to_brain(project_id: str) -> None:
    """Deliver evaluations to the Brain, if it answers soon; otherwise the sweep does it."""
    try:
        access, items = await get_brain_access(), await get_brain_items(project_id)
        async with (await get_outbox()).feeding(project_id, access, items):
            pass
    except Exception as error:  # noqa: BLE001 - the result is saved, whatever it was
        get_run_logger().warning("the sweep will deliver the evaluation to the Brain: %s", error)


@task(name="show_evaluation", task_run_name="show", **STEP)
async def show_evaluation(report: EvaluationReport) -> None:
    """Save a page with the result as an artifact of the run."""
    await evaluation_artifacts.save_evaluation_page(report)


async def open_evaluations(project_id: str) -> EvaluationStore:
    """Open the requests and results of a project."""
    announce = (await get_outbox()).intents.announce_evaluation
    store = EvaluationStore(await get_store(), project_id, announce=announce)
    await store.open()
    return store


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

    Args:
        store: of the project.
        project_id: the project.
        department_number: which department; see `DepartmentList.choose`.
        user_id: who asks.
        department: its slug, if the number is not unique.
        is_auto: whether a gather run asks.
        is_forced: whether a version that was evaluated is to be evaluated again.
        run_id: the run that will do it, if it is there.

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
    """Ensure that a department is evaluated with these items, and start all requests without a run.

    If the run of the request ended without a result, a new request is made. What cannot be started
    now waits for the next call, or the sweep.

    Returns:
        The key of the request.
    """
    asked = await store.request(department, item_ids, user_id=user_id, is_auto=True)
    if asked.stored is None and await _has_failed(store, asked.request):
        asked = await store.request(
            department, item_ids, user_id=user_id, is_auto=True, is_forced=True
        )
    await start_waiting(store)
    return asked.request.key


async def start_waiting(store: EvaluationStore) -> int:
    """Start the requests of a project that have no run, in the order of departments.

    Returns:
        How many were started. After the first that cannot be started, the others wait.
    """
    started = 0
    for request in await store.list_without_run():
        try:
            await start_evaluation(store, request)
        except AletheiaError as error:
            get_run_logger().warning(
                "the evaluation of %s waits for the sweep: %s", request.department, error
            )
            break
        started += 1
    return started


async def start_evaluation(store: EvaluationStore, request: EvaluationRequest) -> UUID:
    """Start a run for a request; return the one that was started for it before, if there is one.

    Raises:
        Misconfigured: the flow is not deployed.
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


async def _evaluate(order: EvaluationOrder) -> Evaluation:
    """Evaluate the items of a request that still exist.

    Raises:
        AletheiaError: the model could not be asked, and another attempt may help; it starts with
            the answers that were saved.
    """
    request = order.request
    chat = NotedFailures(await get_chat(), is_worth_waiting)
    content = await get_content(request.project_id)
    items = oldest_first((await content.read_items(order.item_ids)).values())
    evaluation = await evaluate_items(
        chat,
        SavedAnswers(await get_store(), request.key, clock=lambda: _now().timestamp()),
        order.department,
        [QualityItem(item.id, item.content, item.summary) for item in items],
        project_id=request.project_id,
        plan=AskPlan(current_session().settings.llm.default_llm_model),
        version=request.version,
    )
    if chat.first is not None:
        raise chat.first
    return evaluation


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


def _now() -> datetime:
    return datetime.now(UTC)
