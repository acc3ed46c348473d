"""The deployment `automated_gather_creation`: fills departments with items."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from aletheia.gather.progress import GatherReport
from tasks.gather import (
    close_run,
    drop_duplicates,
    generate_items,
    goes_on,
    has_reached,
    name_outcome,
    next_turn,
    request_evaluation,
    request_missed_evaluations,
    save_items,
    score_department,
)
from tasks.gather_closing import close_cancelled
from tasks.gather_opening import open_run
from tasks.runs import RETRIES


@flow(
    name="automated_gather_creation",
    timeout_seconds=600,
    retries=RETRIES,
    persist_result=False,
    on_cancellation=[close_cancelled],
)
async def automated_gather_creation(
    project_id: str,
    user_id: str,
    max_iterations: int = 50,
    enable_auto_evaluation: bool = True,
    webhook_url: str | None = None,
) -> GatherReport | State[Any]:
    """Fill every active department with good, distinct items.

    Departments go in number order. Each repeats generate, deduplicate, save, score until it
    reaches its threshold, stalls, or the budget is spent; one that reached it goes to evaluation.
    A retry or resume continues from the store; a second run of the project is refused.
    """
    async with open_run(project_id, user_id, max_iterations, webhook_url) as run:
        if run.refusal:
            return Cancelled(message=run.refusal)
        if enable_auto_evaluation:
            await request_missed_evaluations(run)
        while (turn := next_turn(run)) is not None:
            while await goes_on(turn):
                if (batch := await generate_items(turn)) is not None:
                    fresh = await drop_duplicates(batch)
                    saved = await save_items(fresh)
                    await score_department(saved)
            if enable_auto_evaluation and has_reached(turn):
                await request_evaluation(turn)
        return name_outcome(run, await close_run(run))
