"""Findings rest on values of the status, and name them."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import pytest

from aletheia.intake.models import ClockAhead, IntakeStatus, Unacknowledged
from aletheia.reasoning.findings import ObservedStatus, find

AT = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)

REPORTS = Unacknowledged(count=3, since=AT, answer="a web page in place of JSON")


def status(**values: Any) -> ObservedStatus:
    whole: dict[str, Any] = {
        "is_paused": False,
        "states": {},
        "held": 0,
        "expired": 0,
        "waiting": 0,
        "dead": {},
    }
    intake = IntakeStatus(**whole | values)
    return ObservedStatus(intake=intake, breakers=[], limits={}, budgets=[], brain=[])


@pytest.mark.parametrize(
    ("rule", "severity", "values", "said"),
    [
        ("blocked_head", "critical", {"blocked_head": 1}, "1 pending tasks must wait"),
        ("blocked_head", "critical", {"blocked_head": 2300}, "2,300 pending tasks must wait"),
        ("unacknowledged", "critical", {"unacknowledged": REPORTS}, "3 reports are not"),
        ("unacknowledged", "critical", {"unacknowledged": REPORTS}, "12:30:05 UTC: a web page"),
        ("clock_ahead", "high", {"clock_ahead": ClockAhead("a", 3600.4, AT)}, "3600 s ahead"),
    ],
)
def test_a_finding_names_its_rule_and_the_values_that_it_rests_on(
    rule: str, severity: str, values: dict[str, Any], said: str
):
    found = status(**values)
    (finding,) = find(found)
    assert (finding.id, finding.severity) == (rule, severity)
    assert said in finding.text
    assert str(finding) == f"{severity}, {rule}: {finding.text}"
    assert finding.evidence
    for path, value in finding.evidence.items():
        whole: Any = asdict(found)
        whole |= whole.pop("intake")
        keys = [int(name) if name.isdigit() else name for name in path.split(".")]
        assert reduce(lambda part, key: part[key], keys, whole) == value


def test_what_is_worse_is_found_beside_the_rest():
    assert find(status()) == []
    both = find(status(blocked_head=9, unacknowledged=REPORTS))
    assert [finding.id for finding in both] == ["blocked_head", "unacknowledged"]
