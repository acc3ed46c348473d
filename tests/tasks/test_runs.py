"""Which failures of a run another attempt may mend."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from aletheia.errors import (
    AletheiaError,
    BreakerOpen,
    BudgetExceeded,
    QuotaExhausted,
    RateLimited,
    Refused,
    Unavailable,
)
from tasks.runs import MAX_RETRY_S, RETRIES, is_worth_waiting


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("make", "is_worth"),
    [
        (lambda: Unavailable("openrouter", "503"), True),
        (lambda: Unavailable("openrouter", "429", retry_after_s=MAX_RETRY_S), True),
        (lambda: Unavailable("openrouter", "429", retry_after_s=MAX_RETRY_S + 1), False),
        (lambda: QuotaExhausted("openrouter", "nothing left"), False),
        (lambda: Refused("openrouter", 401), False),
        (lambda: RateLimited("openai", later(30)), True),
        (lambda: BreakerOpen("openai", later(-5)), True),
        (lambda: RateLimited("openai", later(MAX_RETRY_S + 60)), False),
        (
            lambda: BudgetExceeded("BUDGET_USD_PER_RUN", Decimal(1), Decimal(1), Decimal(1), None),
            False,
        ),
    ],
)
def test_what_is_over_within_ten_minutes_is_worth_waiting_for(
    make: Callable[[], AletheiaError], is_worth: bool
):
    # Made here, since a run of all tests may come to this one long after it has read the file.
    assert is_worth_waiting(make()) is is_worth


def test_after_the_last_attempt_nothing_is(monkeypatch: pytest.MonkeyPatch):
    outage = Unavailable("openrouter", "503")
    for attempt in range(1, RETRIES + 2):
        monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", str(attempt))
        assert is_worth_waiting(outage) is (attempt <= RETRIES)
