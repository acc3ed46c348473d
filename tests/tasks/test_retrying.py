"""Which failures of a run another attempt may mend."""

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
from tasks.retrying import LONGEST_RETRY_S, RETRIES, is_worth_waiting


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("error", "is_worth"),
    [
        (Unavailable("openrouter", "503"), True),
        (Unavailable("openrouter", "429", retry_after_s=LONGEST_RETRY_S), True),
        (Unavailable("openrouter", "429", retry_after_s=LONGEST_RETRY_S + 1), False),
        (QuotaExhausted("openrouter", "nothing left"), False),
        (Refused("openrouter", 401), False),
        (RateLimited("openai", later(30)), True),
        (BreakerOpen("openai", later(-5)), True),
        (RateLimited("openai", later(LONGEST_RETRY_S + 60)), False),
        (BudgetExceeded("BUDGET_USD_PER_RUN", Decimal(1), Decimal(1), Decimal(1), None), False),
    ],
)
def test_what_is_over_within_ten_minutes_is_worth_waiting_for(error: AletheiaError, is_worth: bool):
    assert is_worth_waiting(error) is is_worth


def test_after_the_last_attempt_nothing_is(monkeypatch: pytest.MonkeyPatch):
    outage = Unavailable("openrouter", "503")
    for attempt in range(1, RETRIES + 2):
        monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", str(attempt))
        assert is_worth_waiting(outage) is (attempt <= RETRIES)
