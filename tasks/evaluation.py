"""The steps of an evaluation, and how the runs that take them are started (SPEC §4, Evaluation)."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from aletheia.errors import AletheiaError, Misconfigured, Unavailable
from aletheia.items.content import oldest_first
from aletheia.items.departments import Department
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.llm.messages import ChatRequest, Completion
from aletheia.llm.ports import ChatModel
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
from tasks.session import current_session, open_session

DEPLOYMENT: Final = "evaluate_department/evaluate_department"

START_WITHIN_S: Final = 15.0
"""For Prefect to take a run, seconds; whoever starts one has other work to do."""

_KEY_BEGINS: Final = "eval:"


@contextlib.asynccontextmanager
async def opened_evaluation(project_id: str) -> AsyncGenerator[None]:
    """Open what an evaluation needs, and plan another attempt where one helps.

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
    """Give the key of the request that this run is for; one that is for none makes its own."""
    store, run_id = await open_evaluations(project_id), str(flow_run.id)
    if (known := await store.find_key(run_id)) is not None:
        return known
    key = await _read_key(run_id)
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
    """Evaluate what a request is about and keep the result, unless that was done before."""
    store = await open_evaluations(project_id)
    order = await store.find_order(key)
    assert order is not None, key
    async with store.holding(order.request, str(flow_run.id)) as stored:
        if stored is not None:
            get_run_logger().info("it was evaluated before, at %s", stored["evaluated_at"])
            return EvaluationReport.from_document(stored, was_stored=True)
        evaluation = await _evaluate(order)
        return EvaluationReport.from_document(await store.save(order.request, evaluation))


@task(name="tell_brain", task_run_name="tell-brain", **STEP)
async def tell_brain(project_id: str) -> None:
    """Have the Brain keep what was evaluated, if it answers soon; the sweep does it otherwise."""
    try:
        access, items = await get_brain_access(), await get_brain_items(project_id)
        async with (await get_outbox()).feeding(project_id, access, items):
            pass
    except Exception as error:  # noqa: BLE001 - the result is kept, whatever it was
        get_run_logger().warning("the Brain is told by the sweep: %s", error)


@task(name="show_evaluation", task_run_name="show", **STEP)
async def show_evaluation(report: EvaluationReport) -> None:
    """Leave a page with the result."""
    await evaluation_artifacts.evaluation_page(report)


async def open_evaluations(project_id: str) -> EvaluationStore:
    """Give the requests and results of a project."""
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
    """Write down that a department is to be evaluated with the items it has now.

    Args:
        store: of the project.
        project_id: the project.
        department_number: which department; see `DepartmentList.choose`.
        user_id: who asks.
        department: its slug, where the number does not tell.
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
    """See to it that a department is evaluated with these items, and start what waits for a run.

    A request whose run ended without a result is made anew. What cannot be started now waits for
    the next call, or the sweep.

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
        How many were started. The first that cannot be leaves the rest to wait behind it.
    """
    started = 0
    for request in await store.list_without_run():
        try:
            await start_run(store, request)
        except AletheiaError as error:
            get_run_logger().warning(
                "the evaluation of %s waits for the sweep: %s", request.department, error
            )
            break
        started += 1
    return started


async def start_run(store: EvaluationStore, request: EvaluationRequest) -> UUID:
    """Have a worker do a request; if a run was started for it before, give that one.

    Raises:
        Misconfigured: the flow is not deployed.
        Unavailable: Prefect does not answer.
    """
    try:
        async with asyncio.timeout(START_WITHIN_S), get_client() as client:
            run = await arun_deployment(
                DEPLOYMENT,
                client=client,
                parameters={
                    "project_id": request.project_id,
                    "department_number": request.department_number,
                    "user_id": request.user_id,
                    "auto_triggered": request.is_auto,
                    "department": request.department,
                },
                flow_run_name=f"{request.project_id}-{request.department}",
                timeout=0,
                as_subflow=False,
                idempotency_key=request.key,
            )
    except ObjectNotFound:
        raise Misconfigured(DEPLOYMENT, "is not deployed; run `aletheia setup`") from None
    except Exception as outage:
        # Whatever it was, the request is kept, and its key makes a second start the same one.
        raise Unavailable("Prefect server", f"{type(outage).__name__}: {outage}") from outage
    await store.mark_started(request, str(run.id))
    return run.id


async def _evaluate(order: EvaluationOrder) -> Evaluation:
    """Evaluate the items of a request, as far as they are still there.

    Raises:
        AletheiaError: the model could not be asked, and may be in the next attempt, which begins
            with the answers that were had.
    """
    request = order.request
    chat = _Overheard(await get_chat())
    content = await get_content(request.project_id)
    items = oldest_first((await content.read_items(order.item_ids)).values())
    evaluation = await evaluate_items(
        chat,
        SavedAnswers(await get_store(), request.key, clock=lambda: _now().timestamp()),
        order.department,
        [QualityItem(one.id, one.content, one.summary) for one in items],
        project_id=request.project_id,
        plan=AskPlan(current_session().settings.llm.default_llm_model),
        version=request.version,
    )
    if chat.trouble is not None:
        raise chat.trouble
    return evaluation


class _Overheard:
    """A `ChatModel` that remembers the first failure that another attempt may mend."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self.provider, self.is_mock = chat.provider, chat.is_mock
        self.trouble: AletheiaError | None = None

    async def complete(self, request: ChatRequest) -> Completion:
        """See `ChatModel.complete`."""
        try:
            return await self._chat.complete(request)
        except AletheiaError as error:
            if self.trouble is None and is_worth_waiting(error):
                self.trouble = error
            raise


async def _read_key(run_id: str) -> str:
    """Read the idempotency key that a run was started with."""
    async with get_client() as client:
        return (await client.read_flow_run(UUID(run_id))).idempotency_key or ""


async def _has_failed(store: EvaluationStore, request: EvaluationRequest) -> bool:
    """Tell whether the run of a request is over without a result; while nobody knows, it is not."""
    if request.run_id is None:
        return False
    try:
        async with get_client() as client:
            state = (await client.read_flow_run(UUID(request.run_id))).state
    except (ObjectNotFound, ValueError):
        state = None
    except Exception as outage:  # noqa: BLE001 - the request waits as it is
        get_run_logger().warning("the run of %s is not known: %s", request.key, outage)
        return False
    if state is not None and not state.is_final():
        return False
    # It may have kept its result since the last look.
    return await store.find_result(request) is None


def _now() -> datetime:
    return datetime.now(UTC)
