"""How breakers, limits, budgets, providers and the Brain stand, for whoever asks."""

from dataclasses import asdict, dataclass
from typing import Any

from prefect.artifacts import acreate_table_artifact

from aletheia.adapters.embedding.cache import HitRate, read_hit_rates
from aletheia.brain.outbox import OutboxState
from aletheia.llm.budgets import BudgetUsage
from aletheia.llm.prices import usd_of
from aletheia.llm.usage_records import UsageTotal
from aletheia.resilience.breaker import BreakerState
from aletheia.resilience.limits import Tier, TierUsage
from tasks.clients.brain import get_outbox
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.store import get_volatile_store


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How everything stands that may hold up a request.

    Attributes:
        breakers: of everything that ever failed.
        limits: by provider that was ever granted or refused a request, and tier.
        budgets: of today, and of a run if one was named.
        usage: of every model, since ever.
        cache: how often embeddings were kept from before, since ever.
        brain: what the Brain has still to be told, by project that lacks something there.
    """

    breakers: list[BreakerState]
    limits: dict[str, dict[Tier, TierUsage]]
    budgets: list[BudgetUsage]
    usage: list[UsageTotal]
    cache: list[HitRate]
    brain: list[OutboxState]

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON values; money as strings of dollars, moments in ISO 8601."""
        return {
            "breakers": [_plain(asdict(one)) for one in self.breakers],
            "limits": {
                provider: {tier: _plain(asdict(one)) for tier, one in tiers.items()}
                for provider, tiers in self.limits.items()
            },
            "budgets": [_plain(asdict(one)) for one in self.budgets],
            "usage": [
                {
                    "provider": one.provider,
                    "model": one.model,
                    "kind": one.kind,
                    "mock": one.is_mock,
                    "calls": one.calls,
                    "tokens": one.tokens.total,
                    "usd": str(usd_of(one.nanousd)),
                }
                for one in self.usage
            ],
            "cache": [asdict(one) | {"share": round(one.share, 4)} for one in self.cache],
            "brain": [_plain(asdict(one)) for one in self.brain],
        }

    def rows(self) -> list[dict[str, str]]:
        """Write it as rows for a table: what, how it stands, and what to know about it."""
        rows = [
            _row(
                f"breaker of {one.dependency}",
                one.state,
                f"{one.reason}; until {one.until:%H:%M:%S} UTC" if one.until else one.reason,
            )
            for one in self.breakers
        ]
        for provider, tiers in self.limits.items():
            rows += [
                _row(
                    f"{provider}, requests per {tier}",
                    f"{one.used:,} of {'no limit' if one.limit is None else f'{one.limit:,}'}",
                    f"refused {one.refusals:,} times" if one.refusals else "",
                )
                for tier, one in tiers.items()
            ]
        rows += [
            _row(one.name, f"{one.spent:,} of {one.limit:,}", "spent" if one.is_spent else "")
            for one in self.budgets
            if one.limit is not None
        ]
        rows += [
            _row(
                f"{one.provider}: {one.model}{' (mock)' if one.is_mock else ''}",
                f"{one.tokens.total:,} tokens",
                f"calls: {one.calls:,}, {usd_of(one.nanousd):.6f} USD",
            )
            for one in self.usage
        ]
        rows += [
            _row(f"cache, {one.name}", f"{one.share:.0%} hits", f"{one.hits + one.misses:,} asked")
            for one in self.cache
        ]
        rows += [
            _row(
                f"Brain, {one.project_id}",
                f"{one.waiting:,} batches wait, {one.dead:,} items refused",
                f"{one.reason}; next try at {one.next_try_at:%H:%M:%S} UTC"
                if one.next_try_at
                else one.reason,
            )
            for one in self.brain
        ]
        return rows


async def read_standing(run_id: str | None = None) -> ProviderStatus:
    """Read how everything stands; inside `open_session`."""
    limiter = await get_limiter()
    spending = await get_spending()
    return ProviderStatus(
        breakers=await (await get_breakers()).states(),
        limits={name: await limiter.usage(name) for name in await limiter.providers()},
        budgets=await spending.budgets(run_id),
        usage=await spending.totals(),
        cache=await read_hit_rates(await get_volatile_store()),
        brain=await (await get_outbox()).states(),
    )


async def leave_standing(run_id: str) -> None:
    """Leave a table of it on the page of the run."""
    rows = (await read_standing(run_id)).rows()
    await acreate_table_artifact(
        key="provider-status",
        table=rows or [_row("nothing was asked so far", "", "")],
        description="Breakers, limits, budgets, usage, cache, and what waits for the Brain.",
    )


def _row(what: str, state: str, note: str) -> dict[str, str]:
    return {"what": what, "state": state, "note": note}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        if value is None or isinstance(value, bool | int | str)
        else value.isoformat()
        if hasattr(value, "isoformat")
        else str(value)
        for name, value in values.items()
    }
