"""What calls under way may use at most."""

from decimal import Decimal

from aletheia.documents import Documents
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.llm.reserved import Reserved, read_reserved
from aletheia.llm.usage import Call, Spending
from aletheia.settings import BudgetSettings

CALL = Call(key="k", provider="openai", model="gpt-4.1-mini", kind="chat", run_id=None)


async def test_what_is_reserved_counts_until_it_is_settled_or_released(documents: Documents):
    settings = BudgetSettings()
    spending = Spending(documents, PriceTable.from_settings(settings), settings)
    await spending.prepare()
    assert await read_reserved(documents) == Reserved()
    first = await spending.reserve(CALL, Tokens(1_000, 500))
    second = await spending.reserve(CALL, Tokens(10))
    found = await read_reserved(documents)
    assert (found.calls, found.tokens) == (2, 1_510)
    assert found.usd == (await spending.budgets())[0].spent
    await spending.settle(first, Tokens(1, 1))
    await spending.release(second)
    assert await read_reserved(documents) == Reserved(0, 0, Decimal(0))
