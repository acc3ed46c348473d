"""The deployment `automated_gather_creation`: departments filled with items."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from aletheia.gather.progress import GatherReport
from tasks.gather import (
    close_run,
    generate_items,
    goes_on,
    has_reached,
    next_department,
    opened_run,
    request_evaluation,
    save_iteration,
)
from tasks.gather_operators import close_cancelled
from tasks.retrying import RETRIES


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
    A retry or resume goes on from the store; a second run of the project is refused.
    """
    async with opened_run(
        project_id, user_id, max_iterations, webhook_url, is_evaluated=enable_auto_evaluation
    ) as refusal:
        if refusal is not None:
            return Cancelled(message=refusal)
        while (turn := next_department()) is not None:
            while await goes_on(turn):
                if await generate_items(turn) is not None:
                    await save_iteration(turn)
            if enable_auto_evaluation and has_reached(turn):
                await request_evaluation(turn)
        return await close_run()
