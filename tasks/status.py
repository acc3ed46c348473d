"""The status of everything, read from a session's clients, and its artifact."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prefect.artifacts import acreate_table_artifact

from aletheia.llm.prices import usd_of
from aletheia.status import (
    CacheStatus,
    IntakeStatus,
    StatusSources,
    SystemStatus,
    UsageStatus,
    read_status,
)
from tasks.clients.brain import get_outbox
from tasks.clients.embedding import get_hit_rates
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.mode import choose_mode


async def read_system_status(
    overview: Callable[[], Awaitable[IntakeStatus]], run_id: str | None = None
) -> SystemStatus:
    """Read the status of everything, inside `open_session`."""
    spending, limiter = await get_spending(), await get_limiter()
    breakers, outbox = await get_breakers(), await get_outbox()

    async def limits() -> Mapping[str, Mapping[Any, Any]]:
        return {name: await limiter.usage(name) for name in await limiter.providers()}

    async def usage() -> list[UsageStatus]:
        return [
            UsageStatus(
                provider=total.provider,
                model=total.model,
                kind=total.kind,
                mock=total.is_mock,
                calls=total.calls,
                tokens=total.tokens.total,
                usd=usd_of(total.nanousd),
            )
            for total in await spending.totals()
        ]

    async def cache() -> list[CacheStatus]:
        return [
            CacheStatus(
                name=rate.name, hits=rate.hits, misses=rate.misses, share=round(rate.share, 4)
            )
            for rate in await get_hit_rates()
        ]

    return await read_status(
        StatusSources(
            intake=overview,
            mode=choose_mode,
            breakers=breakers.states,
            limits=limits,
            budgets=lambda: spending.budgets(run_id),
            usage=usage,
            cache=cache,
            brain=outbox.states,
        )
    )


async def show_status(status: SystemStatus) -> None:
    """Save a table of everything but the ledger as an artifact of the run."""
    await acreate_table_artifact(
        key="provider-status",
        table=status.rows() or [{"what": "nothing was asked so far", "state": "", "note": ""}],
        description="Breakers, limits, budgets, usage, cache, and what waits for the Brain.",
    )
