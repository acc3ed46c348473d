"""What every request to a provider is held to: breakers, limits and budgets."""

from aletheia.adapters.metering import Meter
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import PROBE_LEASE_S, CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits
from tasks.clients.store import get_store, get_volatile_store
from tasks.session import current_session, once


@once
async def get_breakers() -> CircuitBreaker:
    """Return the breakers of all dependencies."""
    settings = current_session().settings
    timeout_s = max(settings.ollama.ollama_timeout, settings.openai.openai_timeout)
    return CircuitBreaker(
        await get_store(),
        threshold=settings.breakers.circuit_breaker_threshold,
        cooldown_s=settings.breakers.circuit_breaker_cooldown_seconds,
        probe_lease_s=max(PROBE_LEASE_S, 2 * timeout_s),
    )


@once
async def get_limiter() -> RateLimiter:
    """Return the limits of all providers."""
    settings = current_session().settings.limits
    limits = RateLimits.from_settings(settings)
    limiter = RateLimiter(await get_volatile_store(), limits, strategy=settings.rate_limit_strategy)
    await limiter.prepare()
    return limiter


@once
async def get_spending() -> Spending:
    """Return budgets and usage."""
    budgets = current_session().settings.budgets
    spending = Spending(await get_store(), PriceTable.from_settings(budgets), budgets)
    await spending.prepare()
    return spending


@once
async def get_meter() -> Meter:
    """Return what holds the requests of this run to breakers, limits and budgets."""
    session = current_session()
    return Meter(
        await get_limiter(),
        await get_breakers(),
        await get_spending(),
        unit=session.settings.limits.rate_limit_unit,
        run_id=session.run_id,
        max_retries=session.settings.intake.max_retries,
        retry_base_s=session.settings.intake.retry_base_seconds,
        confirm=session.watch and session.watch.confirm,
    )
