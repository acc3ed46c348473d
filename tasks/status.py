"""The status of everything, read from a session's clients."""

from aletheia.intake.models import IntakeStatus
from aletheia.llm.reserved import read_reserved
from aletheia.status import SystemStatus
from tasks.clients.brain import get_outbox
from tasks.clients.embedding import describe_mode, get_hit_rates
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.store import get_store


async def read_system_status(intake: IntakeStatus, run_id: str | None = None) -> SystemStatus:
    """Read the status of everything beside intake, inside `open_session`."""
    spending, limiter = await get_spending(), await get_limiter()
    return SystemStatus(
        intake=intake,
        mode=await describe_mode(),
        breakers=await (await get_breakers()).states(),
        limits={name: await limiter.usage(name) for name in await limiter.providers()},
        budgets=await spending.budgets(run_id),
        usage=await spending.totals(),
        reserved=await read_reserved(await get_store()),
        cache=await get_hit_rates(),
        brain=await (await get_outbox()).states(),
    )
