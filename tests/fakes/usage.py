"""Calls to models, as they are recorded in a store."""

from dataclasses import dataclass
from datetime import UTC, datetime

from aletheia.documents import Documents
from aletheia.llm.prices import Tokens
from aletheia.llm.usage import USAGE, Call, UsageState, read_reservation
from aletheia.settings import BudgetSettings


def budget_limits(
    *,
    tokens_per_day: int | None = None,
    tokens_per_run: int | None = None,
    nanousd_per_day: int | None = None,
    nanousd_per_run: int | None = None,
) -> BudgetSettings:
    """Return budgets with these limits, whatever the environment says."""
    return BudgetSettings(
        _env_file=None,  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
        budget_tokens_per_day=tokens_per_day,
        budget_tokens_per_run=tokens_per_run,
        budget_usd_per_day=None if nanousd_per_day is None else nanousd_per_day / 1e9,
        budget_usd_per_run=None if nanousd_per_run is None else nanousd_per_run / 1e9,
    )


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The record of one call; the figures are the estimate until it is settled."""

    id: str
    call: Call
    state: UsageState
    tokens: Tokens
    nanousd: int
    at: datetime
    settled_at: datetime | None


async def read_usage(documents: Documents, **where: str) -> list[UsageRecord]:
    """Read the calls that have these values, oldest first."""
    records: list[UsageRecord] = []
    for document in await documents.find(USAGE, where, sort="at"):
        call, at, settled_at = read_reservation(document), document["at"], document["settled_at"]
        records.append(
            UsageRecord(
                id=call.id,
                call=call.call,
                state=UsageState(document["state"]),
                tokens=call.tokens,
                nanousd=call.nanousd,
                at=datetime.fromtimestamp(at, UTC),
                settled_at=None if settled_at is None else datetime.fromtimestamp(settled_at, UTC),
            )
        )
    return records
