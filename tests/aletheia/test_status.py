"""The status of everything, as `aletheia status` and the artifact of a shift show it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aletheia.brain.outbox import BrainStatus
from aletheia.intake.models import IntakeStatus
from aletheia.llm.reserved import Reserved
from aletheia.llm.usage import BudgetUsage, UsageTotal
from aletheia.resilience.breaker import BreakerState, State
from aletheia.resilience.limits import Tier, TierUsage
from aletheia.status import SystemStatus

DUE = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
WRITTEN = "2026-03-01T12:30:05+00:00"


def intake(**parts: Any) -> IntakeStatus:
    nothing: dict[str, Any] = {"states": {}, "held": 0, "expired": 0, "waiting": 0, "dead": {}}
    return IntakeStatus(is_paused=False, **(nothing | parts))


def status_of(**parts: Any) -> SystemStatus:
    """Read a status of which only some parts are not empty."""
    overview = intake(states={"dead": 2}, held=1, dead={"report_refused": 2})
    known: dict[str, Any] = {"intake": overview, "mode": "mock: for a test", "limits": {}, **parts}

    names = ("breakers", "budgets", "usage", "cache", "brain")
    lists: dict[str, Any] = {name: [] for name in names}
    return SystemStatus(**lists | known)


def test_the_ledger_stands_beside_everything_else_in_json():
    written = status_of().as_json()
    assert written == {
        "is_paused": False,
        "states": {"dead": 2},
        "held": 1,
        "expired": 0,
        "waiting": 0,
        "dead": {"report_refused": 2},
        "blocked_head": 0,
        "unacknowledged": None,
        "clock_ahead": None,
        "paused_lanes": [],
        "paused_types": [],
        "holders": [],
        "waiting_until_s": None,
        "reserved": {"calls": 0, "tokens": 0, "usd": "0"},
        "mode": "mock: for a test",
        "breakers": [],
        "limits": {},
        "budgets": [],
        "usage": [],
        "cache": [],
        "brain": [],
        "findings": [],
    }


def test_a_breaker_and_a_limit_say_until_when():
    status = status_of(
        breakers=[BreakerState("openai", State.OPEN, 5, DUE, "timed out")],
        limits={
            "openai": {Tier.MINUTE: TierUsage(20, 20, DUE, 3), Tier.DAY: TierUsage(7, None, DUE, 0)}
        },
    )
    assert status.rows() == [
        {"what": "embedding", "state": "mock", "note": "for a test"},
        {
            "what": "breaker of openai",
            "state": "open",
            "note": "timed out; until 12:30:05 UTC",
        },
        {
            "what": "openai, requests per minute",
            "state": "20 of 20",
            "note": "refused 3 times",
        },
        {"what": "openai, requests per day", "state": "7 of no limit", "note": ""},
    ]
    written = status.as_json()
    assert (written["breakers"][0]["until"], written["breakers"][0]["state"]) == (WRITTEN, "open")
    assert written["limits"]["openai"]["minute"]["frees_at"] == WRITTEN


def test_money_is_exact_and_a_spent_budget_says_so():
    usage = UsageTotal("openai", "m", "chat", True, 2, 1500, Decimal("0.000000001"))
    status = status_of(
        budgets=[
            BudgetUsage("BUDGET_USD_PER_DAY", Decimal("1.10"), Decimal("1.10"), DUE),
            BudgetUsage("BUDGET_TOKENS_PER_DAY", 2000, 1500, DUE),
            BudgetUsage("BUDGET_USD_PER_RUN", None, Decimal(0), None),
        ],
        usage=[usage],
    )
    assert status.rows() == [
        {"what": "embedding", "state": "mock", "note": "for a test"},
        {"what": "BUDGET_USD_PER_DAY", "state": "1.10 of 1.10", "note": "spent"},
        {"what": "BUDGET_TOKENS_PER_DAY", "state": "1,500 of 2,000", "note": ""},
        {
            "what": "openai: m (mock)",
            "state": "1,500 tokens",
            "note": "calls: 2, 0.000000 USD",
        },
    ]
    written = status.as_json()
    assert [(row["limit"], row["spent"]) for row in written["budgets"]] == [
        ("1.10", "1.10"),
        (2000, 1500),
        (None, "0"),
    ]
    assert written["usage"][0] == {
        "provider": "openai",
        "model": "m",
        "kind": "chat",
        "mock": True,
        "calls": 2,
        "tokens": 1500,
        "usd": "1E-9",
    }


def test_what_waits_for_the_brain_is_shown_with_the_reason_and_the_next_try():
    status = status_of(
        brain=[
            BrainStatus("a", 1234, 2, 3, DUE, "brain is unavailable: no route"),
            BrainStatus("b", 0, 1, 0, None, ""),
        ]
    )
    assert status.rows() == [
        {"what": "embedding", "state": "mock", "note": "for a test"},
        {
            "what": "Brain, a",
            "state": "1,234 batches wait, 2 items refused",
            "note": "brain is unavailable: no route; next try at 12:30:05 UTC",
        },
        {"what": "Brain, b", "state": "0 batches wait, 1 items refused", "note": ""},
    ]
    assert status.as_json()["brain"][0] == {
        "project_id": "a",
        "waiting": 1234,
        "dead": 2,
        "failures": 3,
        "next_try_at": WRITTEN,
        "reason": "brain is unavailable: no route",
    }


def test_findings_are_part_of_the_status():
    status = status_of(intake=intake(blocked_head=23))
    (finding,) = status.as_json()["findings"]
    assert (finding["id"], finding["severity"]) == ("blocked_head", "critical")
    blocked_head = status.as_json()["blocked_head"]
    assert finding["evidence"] == {"additional_metrics.intake.blocked_head": blocked_head}


def test_where_all_is_well_nothing_is_found():
    assert status_of().as_json()["findings"] == []


def test_what_budgets_count_for_calls_under_way_stands_beside_what_was_used():
    status = status_of(
        budgets=[BudgetUsage("BUDGET_USD_PER_DAY", Decimal(5), Decimal("1.25"), DUE)],
        usage=[UsageTotal("openai", "m", "chat", False, 3, 900, Decimal("0.25"))],
        reserved=Reserved(2, 8_000, Decimal(1)),
    )
    lines = {row["what"]: (row["state"], row["note"]) for row in status.rows()}
    assert lines["BUDGET_USD_PER_DAY"][0] == "1.25 of 5"
    assert lines["reserved for calls under way"] == (
        "8,000 tokens",
        "calls: 2, 1.000000 USD at most; in budgets",
    )
    assert lines["openai: m"][1] == "calls: 3, 0.250000 USD"
