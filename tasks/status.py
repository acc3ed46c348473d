"""The status of everything, read from a session's clients, and its artifact."""

from collections.abc import Awaitable, Callable

from prefect.artifacts import acreate_table_artifact

from aletheia.intake.models import IntakeStatus
from aletheia.status import SystemStatus
from tasks.clients.brain import get_outbox
from tasks.clients.embedding import choose_mode, get_hit_rates
from tasks.clients.metering import get_breakers, get_limiter, get_spending


async def read_system_status(
    overview: Callable[[], Awaitable[IntakeStatus]], run_id: str | None = None
) -> SystemStatus:
    """Read the status of everything, inside `open_session`."""
    spending, limiter = await get_spending(), await get_limiter()
    return SystemStatus(
        intake=await overview(),
        mode=await choose_mode(),
        breakers=await (await get_breakers()).states(),
        limits={name: await limiter.usage(name) for name in await limiter.providers()},
        budgets=await spending.budgets(run_id),
        usage=await spending.totals(),
        cache=await get_hit_rates(),
        brain=await (await get_outbox()).states(),
    )


async def show_status(status: SystemStatus) -> None:
    """Save a table of everything but the ledger as an artifact of the run."""
    await acreate_table_artifact(
        key="provider-status",
        table=status.rows(),
        description="Breakers, limits, budgets, usage, cache, and what waits for the Brain.",
    )
