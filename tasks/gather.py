"""The steps of a gather run, as Prefect shows them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import Abort, ObjectNotFound
from prefect.runtime import flow_run

from aletheia.adapters.mock.chat import MOCK_MODEL
from aletheia.errors import BudgetExceeded
from aletheia.events.delivery import FanOut
from aletheia.events.log import EventLog
from aletheia.events.ports import EventSink
from aletheia.gather import loop
from aletheia.gather.deps import GatherDeps
from aletheia.gather.errors import LockLost, ProjectBusy, RunOver, TimeIsUp
from aletheia.gather.event_derivation import EventEmitter, deduplicating
from aletheia.gather.generation import GenerationPlan
from aletheia.gather.knowledge import Knowledge
from aletheia.gather.models import Batch, Run, RunOrder
from aletheia.gather.progress import GatherReport, RunStatus, StopReason
from aletheia.gather.project_lock import HolderState
from aletheia.gather.runs import GatherRuns
from aletheia.gather.scoring import QualityScorer
from aletheia.items.dedup import Deduplicator
from aletheia.items.departments import DepartmentList
from aletheia.items.duplicate_judge import DuplicateJudge
from aletheia.items.project_items import ProjectItems
from aletheia.items.vector_cache import VectorCache
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.quality.evaluation_store import EvaluationStore
from aletheia.store.project_id import check_project_id
from aletheia.text.language import guess_language
from tasks import cancelling
from tasks.clients.brain import get_brain_access, get_brain_items, get_outbox
from tasks.clients.chat import get_chat
from tasks.clients.content import get_calibrations, get_content, get_decisions
from tasks.clients.departments import get_departments
from tasks.clients.embedding import get_item_model
from tasks.clients.events import get_event_sinks
from tasks.clients.metering import get_spending
from tasks.clients.store import get_store
from tasks.evaluation import ensure_evaluation, open_evaluations, start_waiting
from tasks.gather_operators import close_if_cancelled, subscribe
from tasks.gather_views import leave_views, moving_bar
from tasks.policies import STEP
from tasks.retrying import plan_retry
from tasks.session import current_session, open_session

_HOLDER_STATES: Final = {
    StateType.RUNNING: HolderState.RUNNING,
    StateType.CANCELLING: HolderState.RUNNING,
    StateType.PAUSED: HolderState.SUSPENDED,
    StateType.SCHEDULED: HolderState.WAITING,
    StateType.PENDING: HolderState.WAITING,
}


@dataclass(frozen=True, slots=True)
class Turn:
    """A department's turn in a run.

    Attributes:
        position: its place in the run, from 0.
        department: its slug.
    """

    position: int
    department: str


@dataclass(slots=True)
class _Gather:
    """The run of this process."""

    shop: GatherDeps
    run: Run
    chronicle: EventEmitter
    fan_out: FanOut
    evaluations: EvaluationStore
    batch: Batch | None = None

    async def tell(self) -> None:
        """Add the events that the run has come to imply."""
        if await self.chronicle.emit(self.run):
            self.fan_out.nudge()

    async def end(self, status: RunStatus) -> GatherReport:
        """Close the run, once, and leave what an operator looks at."""
        if self.run.report is None:
            created = await self.shop.items.count_created(self.run.id)
            report = await self.shop.runs.close(self.run, status, created)
            self.run = replace(self.run, report=report)
        assert self.run.report is not None
        await self.tell()
        await self.shop.runs.mark_told(self.run.id)
        content = await get_content(self.run.project_id)
        await leave_views(self.run, content, is_mock=self.shop.chat.is_mock)
        return self.run.report


_current: _Gather | None = None


def _gather() -> _Gather:
    assert _current is not None, "outside opened_run()"
    return _current


@contextlib.asynccontextmanager
async def opened_run(
    project_id: str,
    user_id: str,
    max_iterations: int,
    webhook_url: str | None,
    *,
    is_evaluated: bool,
) -> AsyncGenerator[str | None]:
    """Open a run, or go on with it where it was; while it is open, its events are sent.

    A run that is cancelled is closed; one that is suspended, or fails, keeps its project until
    another run may take it.

    Args:
        project_id: the project.
        user_id: whose items they will be.
        max_iterations: of the whole run.
        webhook_url: where its events go too.
        is_evaluated: whether departments that reach their threshold are to be evaluated.

    Yields:
        Why the run may not begin; `None` if it may.
    """
    global _current  # noqa: PLW0603
    async with cancelling.heard():
        try:
            order = RunOrder(
                str(flow_run.id), check_project_id(project_id), user_id, max_iterations
            )
            async with open_session(), _standing_back(order.run_id):
                events = EventLog(await get_store())
                sinks = await get_event_sinks(webhook_url)
                shop = await _furnish(order)
                try:
                    run = await shop.runs.open(order, _Departments(), _settle)
                except ProjectBusy as busy:
                    yield str(busy)
                    return
                fan_out = await _subscribe(run, events, sinks, webhook_url)
                evaluations = await open_evaluations(project_id)
                mock = MOCK_MODEL if shop.chat.is_mock else None
                chronicle = EventEmitter(events, shop.plan.default_model, mock=mock)
                gather = _Gather(shop, run, chronicle, fan_out, evaluations)
                async with fan_out.feeding(project_id), _indexing(run), _holding(gather):
                    _current = gather
                    await gather.tell()
                    if run.report is None and is_evaluated:
                        await _request_missed(gather)
                    yield None
        except Exception as error:
            await plan_retry(error)
            raise
        finally:
            _current = None


@contextlib.asynccontextmanager
async def _standing_back(run_id: str) -> AsyncGenerator[None]:
    """End without a word to Prefect where another attempt has the run, or somebody has closed it.

    Raises:
        Abort: so that the run's state stays what whoever has it makes of it.
        RunSuperseded: another run has taken its project over.
    """
    try:
        yield
    except LockLost as lost:
        with contextlib.suppress(RunOver):
            await GatherRuns(await get_store()).load_open(run_id)
        raise Abort(str(lost)) from lost


@contextlib.asynccontextmanager
async def _indexing(run: Run) -> AsyncGenerator[None]:
    """Have the Brain index what is saved, beside the run; what it lacks at the end waits."""
    access, outbox = await get_brain_access(), await get_outbox()
    items = await get_brain_items(run.project_id)
    async with outbox.feeding(run.project_id, access, items):
        yield


@contextlib.asynccontextmanager
async def _holding(gather: _Gather) -> AsyncGenerator[None]:
    """Hold the project, and close the run if it is cancelled."""
    if gather.run.report is not None:
        yield
        return
    async with gather.shop.runs.holding(gather.run), moving_bar(lambda: gather.run.progress):
        try:
            yield
        except asyncio.CancelledError:
            await asyncio.shield(_close_if_cancelled(gather))
            raise


async def _close_if_cancelled(gather: _Gather) -> None:
    """Close a run that somebody cancels; one that is out of time goes on in its next attempt."""
    try:
        async with get_client() as client:
            state = (await client.read_flow_run(UUID(gather.run.id))).state
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            # What was on its way to the store when the run was told to end may be there.
            taken = await gather.shop.runs.overtake(gather.run.id)
            known = {"token": taken.token, "progress": taken.progress, "report": taken.report}
            gather.run = replace(gather.run, **known)
            await gather.end("cancelled")
    except Exception:  # noqa: BLE001
        # The run ends as cancelled all the same, and whoever wants the project next takes it over.
        get_run_logger().exception("the cancelled run could not be closed")


async def _subscribe(
    run: Run, events: EventLog, sinks: Mapping[str, EventSink], webhook_url: str | None
) -> FanOut:
    """See that whoever wants this run's events gets them, from the first on."""
    fan_out = FanOut(await get_store(), events, sinks)
    await events.prepare()
    await fan_out.prepare()
    if run.report is None:
        await subscribe(fan_out, run, sinks, webhook_url)
    return fan_out


async def _furnish(order: RunOrder) -> GatherDeps:
    """Put together what the steps work with."""
    settings, llm = current_session().settings.gather, current_session().settings.llm
    store, content = await get_store(), await get_content(order.project_id)
    chat, model = await get_chat(), await get_item_model()
    items = ProjectItems(content, VectorCache(content, model.vectors), model.embed, model.name)
    access, outbox = await get_brain_access(), await get_outbox()
    runs = GatherRuns(store)
    await runs.prepare()
    plan = AskPlan(llm.default_llm_model)
    verdicts = SavedAnswers(store, f"{order.project_id}:duplicates", clock=time.time)
    spending = await get_spending()
    chosen = await (await get_calibrations()).choose(order.run_id, model.name)
    return GatherDeps(
        runs=runs,
        items=items,
        chat=chat,
        plan=GenerationPlan(llm.default_llm_model, items=settings.gather_batch_items),
        deduplicator=Deduplicator(chosen.calibration, guarded_pairs=settings.guarded_pairs),
        scorer=QualityScorer(chat, plan),
        budgets=spending.budgets,
        judge=DuplicateJudge(chat, verdicts, plan=plan),
        decisions=await get_decisions(order.project_id),
        brain=Knowledge(access, outbox, order.project_id, items),
        language_of=guess_language,
    )


class _Departments:
    """The departments, read by a step of their own."""

    async def list_departments(self) -> DepartmentList:
        """See `DepartmentSource`."""
        return await list_departments()


@task(name="list_departments", task_run_name="list-departments", **STEP)
async def list_departments() -> DepartmentList:
    """Read the departments that take part, in the order of their numbers."""
    return await (await get_departments()).list_departments()


def next_department() -> Turn | None:
    """Say whose turn it is; `None` after the last one."""
    run = _gather().run
    position = run.progress.position if run.report is None else None
    if position is None:
        return None
    return Turn(position, run.progress.departments[position].department.slug)


async def goes_on(turn: Turn) -> bool:
    """Say whether a department has another iteration; if not, its reason is written down."""
    gather = _gather()
    gather.run, reason = await loop.find_verdict(gather.shop, gather.run, turn.position)
    await gather.tell()
    if reason is not None:
        get_run_logger().info("%s is done: %s", turn.department, reason.replace("_", " "))
    return reason is None


def has_reached(turn: Turn) -> bool:
    """Tell whether a department is done because it is good enough."""
    return _gather().run.progress.departments[turn.position].reason is StopReason.THRESHOLD_REACHED


@task(name="generate_items", task_run_name="generate-{turn.department}", **STEP)
async def generate_items(turn: Turn) -> int | None:
    """Have a batch written; return how many items it has, `None` where nothing may be spent."""
    gather = _gather()
    context = await loop.read_context(gather.shop, gather.run, turn.position)
    try:
        batch = await loop.write_batch(gather.shop, gather.run, turn.position, context)
    except (BudgetExceeded, TimeIsUp) as spent:
        get_run_logger().warning("no more is generated: %s", spent)
        reason = loop.reason_of(spent)
        gather.run = await gather.shop.runs.finish_department(gather.run, turn.position, reason)
        return None
    gather.batch = batch
    return len(batch.items)


@task(name="save_iteration", task_run_name="save-{turn.department}", **STEP)
async def save_iteration(turn: Turn) -> int:
    """Drop what repeats something, save the rest, score; return how many items were saved."""
    gather, batch = _gather(), _gather().batch
    assert batch is not None, "before generate_items()"
    shop, position = gather.shop, turn.position
    if batch.items:
        await gather.chronicle.emit_one(gather.run, deduplicating(gather.run, position))
        gather.fan_out.nudge()
    fresh = await loop.drop_duplicates(shop, gather.run, position, batch)
    saved = await loop.save_items(shop, gather.run, position, batch, fresh)
    gather.run = await loop.score_department(
        shop, gather.run, position, batch, fresh=fresh, saved=saved
    )
    gather.batch = None
    await gather.tell()
    return len(saved)


@task(name="request_evaluation", task_run_name="evaluate-{turn.department}", **STEP)
async def request_evaluation(turn: Turn) -> str:
    """Have a department evaluated as it is now, by a run of its own; return the request's key."""
    return await _request(_gather(), turn.position)


@task(name="close_run", task_run_name="close", **STEP)
async def close_run() -> GatherReport:
    """Sum the run up, free its project, and leave its artifacts."""
    gather = _gather()
    reasons = {one.reason for one in gather.run.progress.departments}
    return await gather.end("cancelled" if StopReason.CANCELLED in reasons else "completed")


async def _settle(run_id: str) -> HolderState:
    """Say what Prefect says of the run that holds the project.

    One that was cancelled and has not said so does it now: once it is taken over, nobody does.
    """
    state = await read_state(run_id)
    if state is HolderState.ENDED:
        await close_if_cancelled(run_id)
    return state


async def read_state(run_id: str) -> HolderState:
    """Say what Prefect says of another run."""
    try:
        async with get_client() as client:
            state = (await client.read_flow_run(UUID(run_id))).state
    except (ObjectNotFound, ValueError):
        return HolderState.UNKNOWN
    if state is None:
        return HolderState.UNKNOWN
    return _HOLDER_STATES.get(state.type, HolderState.ENDED)


async def _request(gather: _Gather, position: int) -> str:
    department = gather.run.progress.departments[position].department
    await gather.shop.items.refresh()
    ids = [item.id for item in gather.shop.items.of_department(department.slug)]
    return await ensure_evaluation(gather.evaluations, department, ids, gather.run.user_id)


async def _request_missed(gather: _Gather) -> None:
    """Request what an attempt that ended in between may not have requested any more.

    What earlier runs requested without starting it is started first.
    """
    await start_waiting(gather.evaluations)
    for position, one in enumerate(gather.run.progress.departments):
        if one.reason is StopReason.THRESHOLD_REACHED:
            await _request(gather, position)
