"""The steps of a gather run, as Prefect shows them."""

from prefect import get_run_logger, task

from aletheia.gather.attempt import Attempt, BatchRef, Turn
from aletheia.gather.errors import AnswersUnreadable
from aletheia.gather.progress import GatherReport, StopReason, find_unreadable
from tasks.clients.brain import get_evaluations
from tasks.evaluation import ensure_evaluation, start_waiting
from tasks.gather_artifacts import NO_DEPARTMENT, show_run
from tasks.gather_opening import OpenedRun
from tasks.policies import STEP
from tasks.runs import complete
from tasks.session import current_session


def _attempt(run_id: str) -> Attempt:
    return current_session().clients.find(Attempt, run_id)


def next_turn(run: OpenedRun) -> Turn | None:
    """Return the turn of the next department; `None` after the last one."""
    return _attempt(run.id).next_turn()


async def goes_on(turn: Turn) -> bool:
    """Check whether a department has another iteration; if not, the reason is stored."""
    return await _attempt(turn.run_id).find_stop_reason(turn) is None


def has_reached(turn: Turn) -> bool:
    """Check whether a department ended because it reached its threshold."""
    return _attempt(turn.run_id).reason_of(turn) is StopReason.THRESHOLD_REACHED


@task(name="generate_items", task_run_name="generate-{turn.department}", **STEP)
async def generate_items(turn: Turn) -> BatchRef | None:
    """Generate a batch of items; `None` if no budget or no time is left."""
    return await _attempt(turn.run_id).generate_items(turn)


@task(name="drop_duplicates", task_run_name="deduplicate-{batch.turn.department}", **STEP)
async def drop_duplicates(batch: BatchRef) -> BatchRef:
    """Drop the items of a batch that repeat others."""
    return await _attempt(batch.turn.run_id).drop_duplicates(batch)


@task(name="save_items", task_run_name="save-{batch.turn.department}", **STEP)
async def save_items(batch: BatchRef) -> BatchRef:
    """Save what is left of a batch, and announce it to the Brain."""
    return await _attempt(batch.turn.run_id).save_items(batch)


@task(name="score_department", task_run_name="score-{batch.turn.department}", **STEP)
async def score_department(batch: BatchRef) -> float | None:
    """Score a department with the items of a batch; return its quality, 0 to 100."""
    return await _attempt(batch.turn.run_id).score_department(batch)


@task(name="request_evaluation", task_run_name="evaluate-{turn.department}", **STEP)
async def request_evaluation(turn: Turn) -> str:
    """Request that a department is evaluated as it is now, by a run of its own; return the key."""
    return await _request(_attempt(turn.run_id), turn)


@task(name="request_missed_evaluations", task_run_name="evaluate-missed", **STEP)
async def request_missed_evaluations(run: OpenedRun) -> int:
    """Request the evaluations that an interrupted attempt may have missed; return how many."""
    attempt = _attempt(run.id)
    if attempt.run.report is not None:
        return 0
    await start_waiting(await get_evaluations(run.project_id))
    turns = attempt.list_turns(StopReason.THRESHOLD_REACHED)
    for turn in turns:
        await _request(attempt, turn)
    return len(turns)


async def _request(attempt: Attempt, turn: Turn) -> str:
    department = attempt.run.progress.departments[turn.position].department
    item_ids = await attempt.list_item_ids(turn)
    evaluations = await get_evaluations(turn.project_id)
    return await ensure_evaluation(evaluations, department, item_ids, attempt.run.user_id)


@task(name="close_run", task_run_name="close", **STEP)
async def close_run(run: OpenedRun) -> GatherReport:
    """Close a run, and save its artifacts. Raises `AnswersUnreadable`: no answer was of use."""
    attempt = _attempt(run.id)
    report = await attempt.close()
    await show_run(attempt.run, is_mock=attempt.is_mock)
    reason = find_unreadable(attempt.run.progress)
    if reason and report.status == "completed":
        raise AnswersUnreadable(run.id, reason)
    return report


def name_outcome(run: OpenedRun, report: GatherReport) -> GatherReport:
    """Return the report, in a state that says why if there was no department to work on."""
    if report.summary:
        return report
    said = "; ".join((NO_DEPARTMENT, *_attempt(run.id).run.warnings))
    get_run_logger().warning(said)
    return complete(report, said)
