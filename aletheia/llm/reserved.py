"""What is reserved for calls under way: budgets count it, totals of what was used do not."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aletheia.documents import Documents
from aletheia.llm.prices import usd_of
from aletheia.llm.usage import USAGE, UsageState

MAX_READ: Final = 10_000
"""Reservations that are read; each is a call under way, or one whose process died."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """What calls under way may use at most."""

    calls: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)


async def read_reserved(documents: Documents) -> Reserved:
    """Return what is reserved now, and not settled yet."""
    found = await documents.find(
        USAGE, {"state": UsageState.RESERVED}, sort="at", descending=True, limit=MAX_READ
    )
    return Reserved(
        calls=len(found),
        tokens=sum(row["tokens_in"] + row["tokens_out"] for row in found),
        usd=usd_of(sum(row["nanousd"] for row in found)),
    )
