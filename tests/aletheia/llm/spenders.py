"""What several processes spend at once from one budget."""

import os
import random
import signal
from typing import Final

from aletheia.documents import Documents
from aletheia.errors import BudgetExceeded
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.usage import Call, Spending
from aletheia.settings import BudgetSettings

PRICES: Final = {"openai": {"models": {"m": {"embedding": 1}}}}
"""A token costs 1,000 nano-dollars."""


def spending(documents: Documents, limits: BudgetSettings, now: float) -> Spending:
    return Spending(documents, PriceTable(PRICES), limits, clock=lambda: now)


async def spend_at_random(documents: Documents, plan: tuple[BudgetSettings, float]) -> int:
    """Reserve 100 tokens a time, settle, release or leave them; say what was reserved."""
    limits, now = plan
    book = spending(documents, limits, now)
    chance = random.Random(os.getpid())
    reserved = 0
    for _ in range(60):
        call = Call("k", "openai", "m", "embedding", run_id=chance.choice(["a", "b"]))
        try:
            reservation = await book.reserve(call, Tokens(100))
        except BudgetExceeded:
            continue
        reserved += 1
        match chance.randrange(3):
            case 0:
                await book.settle(reservation, Tokens(chance.randint(0, 100)))
            case 1:
                await book.release(reservation)
            case _:
                pass
    return reserved


async def reserve_until_refused(documents: Documents, plan: tuple[BudgetSettings, float]) -> int:
    limits, now = plan
    book = spending(documents, limits, now)
    count = 0
    try:
        while True:
            await book.reserve(Call("k", "openai", "m", "embedding"), Tokens(100))
            count += 1
    except BudgetExceeded:
        return count


async def reserve_and_die(documents: Documents, plan: tuple[BudgetSettings, float]) -> None:
    limits, now = plan
    call = Call("batch-7", "openai", "m", "embedding", run_id="a")
    await spending(documents, limits, now).reserve(call, Tokens(100))
    os.kill(os.getpid(), signal.SIGKILL)
