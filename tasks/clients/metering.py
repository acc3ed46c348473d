"""What every request to a provider is held to: breakers, limits and budgets."""

from aletheia.adapters.metering import Meter
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import PROBE_LEASE_S, CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits
from tasks.clients.store import get_store, get_volatile_store
from tasks.session import current_session


async def get_breakers() -> CircuitBreaker:
    """Return the breakers of all dependencies."""
    session = current_session()

    async def build() -> CircuitBreaker:
        settings = session.settings
        timeout_s = max(settings.ollama.ollama_timeout, settings.openai.openai_timeout)
        return CircuitBreaker(
            await get_store(),
            threshold=settings.breakers.circuit_breaker_threshold,
            cooldown_s=settings.breakers.circuit_breaker_cooldown_seconds,
            probe_lease_s=max(PROBE_LEASE_S, 2 * timeout_s),
        )

    return await session.clients.build(("breakers",), build)


async def get_limiter() -> RateLimiter:
    """Return the limits of all providers."""
    session = current_session()

    async def build() -> RateLimiter:
        settings = session.settings.limits
        limiter = RateLimiter(
            await get_volatile_store(),
            RateLimits.from_settings(settings),
            strategy=settings.rate_limit_strategy,
        )
        await limiter.prepare()
        return limiter

    return await session.clients.build(("limiter",), build)


async def get_spending() -> Spending:
    """Return budgets and usage."""
    session = current_session()

    async def build() -> Spending:
        spending = Spending.from_settings(await get_store(), session.settings.budgets)
        await spending.prepare()
        return spending

    return await session.clients.build(("spending",), build)


async def get_meter() -> Meter:
    """Return what holds the requests of this run to breakers, limits and budgets."""
    session = current_session()

    async def build() -> Meter:
        intake = session.settings.intake
        return Meter(
            await get_limiter(),
            await get_breakers(),
            await get_spending(),
            unit=session.settings.limits.rate_limit_unit,
            run_id=session.run_id,
            max_retries=intake.max_retries,
            retry_base_s=intake.retry_base_seconds,
        )

    return await session.clients.build(("meter", session.run_id), build)
