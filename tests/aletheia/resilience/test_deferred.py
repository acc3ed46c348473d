import pickle
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from aletheia.errors import AletheiaError, BreakerOpen, BudgetExceeded, Deferred, RateLimited

UNTIL = datetime(2026, 11, 19, tzinfo=UTC)

CASES = [
    (
        RateLimited("openai", UNTIL),
        "'openai' is over its limit until 2026-11-19 00:00:00+00:00",
    ),
    (
        RateLimited("openai", UNTIL, ("minute", "day")),
        "'openai' is over its limit per minute and day until 2026-11-19 00:00:00+00:00",
    ),
    (
        BreakerOpen("openai", UNTIL),
        "the breaker of 'openai' is open until 2026-11-19 00:00:00+00:00",
    ),
    (
        BudgetExceeded("BUDGET_USD_PER_DAY", Decimal(10), Decimal("9.99"), Decimal("2E-8"), UNTIL),
        (
            "BUDGET_USD_PER_DAY is 10 USD, of which 9.99 are spent or reserved; the call may take "
            "0.00000002; it begins anew at 2026-11-19 00:00:00+00:00"
        ),
    ),
    (
        BudgetExceeded("BUDGET_TOKENS_PER_RUN", 100_000, 99_000, 1_500, None),
        (
            "BUDGET_TOKENS_PER_RUN is 100,000 tokens, of which 99,000 are spent or reserved; the "
            "call may take 1,500; it begins anew with the next run"
        ),
    ),
]


@pytest.mark.parametrize(("error", "text"), CASES)
def test_what_holds_a_call_up_says_why_and_until_when(error: AletheiaError, text: str):
    assert str(error) == text
    assert isinstance(error, Deferred)
    assert error.retryable


@pytest.mark.parametrize(("error", "text"), CASES)
def test_it_can_be_sent_between_processes(error: AletheiaError, text: str):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.args, vars(copy)) == (type(error), error.args, vars(error))
    assert str(copy) == text
