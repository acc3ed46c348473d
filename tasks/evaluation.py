"""The steps of an evaluation, as Prefect shows them (SPEC §4, Evaluation)."""

import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Final

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from aletheia.items.content import oldest_first
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.llm.noted_failures import NotedFailures
from aletheia.quality.evaluation import Evaluation, evaluate_items
from aletheia.quality.evaluation_report import EvaluationReport
from aletheia.quality.evaluation_store import EvaluationOrder
from aletheia.quality.scores import QualityItem
from aletheia.store.project_id import check_project_id
from tasks import cancelling, evaluation_artifacts
from tasks.clients.brain import get_brain_access, get_brain_items, get_outbox
from tasks.clients.chat import get_chat, get_default_model
from tasks.clients.content import get_content
from tasks.clients.evaluations import get_evaluations
from tasks.clients.store import get_store
from tasks.evaluation_requests import ask_for_evaluation
from tasks.policies import STEP
from tasks.retrying import is_worth_waiting, plan_retry
from tasks.runs import read_run
from tasks.session import open_session

_KEY_BEGINS: Final = "eval:"


@contextlib.asynccontextmanager
async def open_evaluation(project_id: str) -> AsyncGenerator[None]:
    """Open the session of an evaluation; after a failure, plan another attempt if one helps."""
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
    store, run_id = await get_evaluations(project_id), str(flow_run.id)
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
    store = await get_evaluations(project_id)
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


async def _evaluate(order: EvaluationOrder) -> Evaluation:
    """Evaluate the items of a request that still exist."""
    request = order.request
    chat = NotedFailures(await get_chat(), is_worth_waiting)
    content = await get_content(request.project_id)
    items = oldest_first((await content.read_items(order.item_ids)).values())
    evaluation = await evaluate_items(
        chat,
        SavedAnswers(await get_store(), request.key, clock=time.time),
        order.department,
        [QualityItem(item.id, item.content, item.summary) for item in items],
        project_id=request.project_id,
        plan=AskPlan(await get_default_model()),
        version=request.version,
    )
    if chat.first is not None:
        raise chat.first
    return evaluation
