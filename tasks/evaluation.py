"""Requests for evaluations, and the steps of their runs (SPEC §4, Evaluation)."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final
from uuid import UUID

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from aletheia.documents import Document
from aletheia.errors import AletheiaError
from aletheia.escaping import escape_markdown as escape
from aletheia.items.content import oldest_first
from aletheia.items.departments import Department
from aletheia.items.vector_cache import VectorCache
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan, NotedFailures
from aletheia.llm.attribution import spending_on
from aletheia.quality.embedding import Embedded, QualityCounter
from aletheia.quality.evaluation import EvaluationReport, Suggestion, evaluate_items
from aletheia.quality.evaluation_store import (
    EvaluationOrder,
    EvaluationRequest,
    EvaluationStore,
    Requested,
)
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import PARTS, WEIGHTS
from aletheia.store.project_id import check_project_id
from tasks import cancelling
from tasks.artifacts import code, save_markdown
from tasks.auditing import record_this_run
from tasks.clients.brain import feeding_brain, get_evaluations
from tasks.clients.chat import get_chat, get_default_model
from tasks.clients.content import get_content, get_departments
from tasks.clients.embedding import get_item_model
from tasks.clients.store import get_store
from tasks.policies import STEP
from tasks.runs import is_worth_waiting, plan_retry, read_run, start_run
from tasks.session import open_session

DEPLOYMENT: Final = "evaluate_department/evaluate_department"

MAX_IDS: Final = 5
"""Item ids beside a finding."""

_KEY_BEGINS: Final = "eval:"


@contextlib.asynccontextmanager
async def open_evaluation(project_id: str) -> AsyncGenerator[None]:
    """Open the session of an evaluation; after a failure, plan another attempt if one helps."""
    async with cancelling.watching() as watch:
        try:
            check_project_id(project_id)
            async with open_session(watch=watch):
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
    if is_forced:
        await record_this_run()
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
        async with feeding_brain(project_id):
            pass
    except Exception as error:  # noqa: BLE001 - the result is saved, whatever it was
        get_run_logger().warning("the sweep will deliver the evaluation to the Brain: %s", error)


@task(name="show_evaluation", task_run_name="show", **STEP)
async def show_evaluation(report: EvaluationReport) -> None:
    """Save a page with the score, its parts, findings and suggestions."""
    description = f"Evaluation of {escape(report.department_name)}: {report.score:.1f}"
    await save_markdown("evaluation", describe(report), description)


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


async def _evaluate(order: EvaluationOrder) -> Document:
    """Evaluate the items of a request that still exist."""
    request = order.request
    chat = NotedFailures(await get_chat(), is_worth_waiting)
    content = await get_content(request.project_id)
    items = oldest_first((await content.read_items(order.item_ids)).values())
    model = await get_item_model()
    vectors = VectorCache(content, model.vectors)

    async def embed_each(texts: Sequence[str]) -> Embedded:
        return await vectors.fill_each(texts, model.embed)

    with spending_on(request.project_id, request.department):
        evaluation = await evaluate_items(
            chat,
            SavedAnswers(await get_store(), request.key),
            order.department,
            [QualityItem(item.id, item.content, item.summary) for item in items],
            counter=QualityCounter(None if model.is_mock else embed_each),
            project_id=request.project_id,
            plan=AskPlan(await get_default_model()),
            version=request.version,
        )
    if chat.first is not None:
        raise chat.first
    return evaluation


def describe(report: EvaluationReport) -> str:
    """Describe an evaluation as markdown; what models and users wrote is escaped."""
    reached = "reached" if report.score >= report.threshold else "not reached"
    about = (
        f"{report.items} items of project `{report.project_id}`, version "
        f"`{report.version[:12]}`; threshold {report.threshold:g}, {reached}. "
        f"{report.judges} of {report.judges_asked} judges gave a score."
    )
    if report.spread is not None and report.bound is not None:
        about += f" The mean is certain to ± {report.spread:.1f}, its bound {report.bound:.1f}."
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


def _cells(remark: Suggestion) -> str:
    shown = ", ".join(code(id_) for id_ in remark.item_ids[:MAX_IDS])
    left_out = len(remark.item_ids) - MAX_IDS
    ids = f"{shown} and {left_out} more" if left_out > 0 else shown
    return f"{remark.part} | {escape(remark.text)} | {remark.source} | {ids}"
