"""Findings rest on values of the snapshot and name them; the score follows from them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.reasoning.catalogue import MEASURES
from aletheia.reasoning.findings import (
    RULES,
    Finding,
    by_severity,
    digest_of,
    find,
    health_of,
    keep_stale,
    score_of,
)
from aletheia.reasoning.rules.rule import SEVERITIES, Found, rule, write_share
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import View
from bench.reasoning_evaluation import evaluate_findings
from tests.fakes.reasoning import make_snapshot

SETTINGS = FindingSettings()

WORSE_UP = (
    *("queue_pending", "queue_failed", "scheduler_pending", "jobs_pending", "jobs_failed"),
    *("publish_failed_24h", "clips_pending_analysis", "campaigns_draft", "alerts_critical"),
    "alerts_warning",
    *(
        f"additional_metrics.{name}"
        for name in (
            *("intake.blocked_head", "intake.leases_expired", "intake.oldest_expired_s"),
            *("intake.waiting", "telemetry.task_failure_share", "lanes.media.waiting"),
            *("breakers.openai.failures", "limits.a.share", "limits.a.refusals"),
            *("budgets.a.share", "brain.shop.waiting", "brain.shop.refused"),
            *("gather.oldest_open_s", "gather.evaluations_waiting", "events.given_up"),
            *("models.memory_share", "prefect.late", "prefect.crashed_24h"),
            *("prefect.workers_offline", "prefect.last_run_age_s", "prefect.longest_run_s"),
        )
    ),
)
"""Values that get worse as they rise."""

WORSE_DOWN = (
    *("publish_success_rate", "clips_ready", "campaigns_active"),
    "additional_metrics.prefect.workers_online",
)
"""Values that get worse as they fall."""


def found(values: dict[str, Any]) -> list[Finding]:
    return find(make_snapshot(values).view, SETTINGS)


def amounts(path: str) -> st.SearchStrategy[float]:
    if path.endswith(("share", "rate")):
        return st.floats(0, 1)
    whole = st.integers(0, 20_000)
    return st.one_of(whole, st.integers(0, 30)).map(float if path.endswith("_s") else int)


@st.composite
def worsened(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, float]]:
    """Two sets of values, of which the second is worse or equal in every part."""
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for path in (*WORSE_UP, *WORSE_DOWN):
        low, high = sorted((draw(amounts(path)), draw(amounts(path))))
        better, worse = (low, high) if path in WORSE_UP else (high, low)
        before[path], after[path] = better, worse
    return before, after


# Threads of other tests in this process, as of a database client, may use `random` meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@given(worsened())
def test_worse_input_never_raises_the_score(values: tuple[dict[str, float], dict[str, float]]):
    better, worse = map(found, values)
    assert score_of(worse) <= score_of(better)


@given(st.sets(st.sampled_from([it.id for it in RULES])), st.sampled_from(SEVERITIES))
def test_a_further_finding_never_raises_the_score(ids: set[str], severity: Any):
    findings = [Finding(id_, severity, "", {}) for id_ in sorted(ids)]
    for end in range(len(findings)):
        assert score_of(findings[: end + 1]) <= score_of(findings[:end])


def test_a_healthy_system_has_no_finding_and_the_full_score():
    assert found({}) == []
    assert (score_of([]), health_of(100, [])) == (100, "excellent")


def test_there_are_at_least_thirty_rules_each_with_an_id_of_its_own():
    assert len(RULES) >= 30
    assert len({it.id for it in RULES}) == len(RULES)
    assert not {it.id for it in RULES} & set(MEASURES), "a reference would mean two things"


@pytest.mark.parametrize("known", RULES, ids=lambda it: it.id)
def test_a_rule_states_what_it_finds_and_its_causes_are_rules(known: Any):
    assert known.title
    assert known.title == known.title.strip(".")
    assert set(known.because) <= {it.id for it in RULES} - {known.id}


def test_every_labelled_problem_is_found_and_nothing_is_in_noise():
    figures = evaluate_findings()
    assert figures.findings_recall_by_level["1"] == 1
    assert figures.findings_recall_by_level["2"] == 1
    assert figures.findings_recall >= 0.95, figures.missed
    assert figures.findings_on_healthy == 0
    assert figures.snapshots == 60


@pytest.mark.parametrize(
    ("path", "value", "rule_id", "severity", "said"),
    [
        ("queue_pending", 1000, "queue_backlog", "medium", "1,000 tasks are pending"),
        ("queue_pending", 10_000, "queue_backlog", "high", "10,000 tasks are pending"),
        ("alerts_critical", 1, "critical_alerts", "high", "1 critical alert is"),
        ("alerts_critical", 5, "critical_alerts", "critical", "5 critical alerts"),
        ("publish_success_rate", 0.8999, "publish_rate_low", "medium", "89.9 %"),
        ("publish_success_rate", 0.4, "publish_rate_low", "critical", "40 %"),
        ("additional_metrics.intake.blocked_head", 1, "blocked_head", "critical", "1 pending"),
        ("additional_metrics.prefect.workers_online", 0, "no_worker", "critical", "no worker"),
    ],
)
def test_a_finding_names_the_value_it_rests_on_from_its_very_bound(
    path: str, value: float, rule_id: str, severity: str, said: str
):
    (finding,) = found({path: value})
    assert (finding.id, finding.severity) == (rule_id, severity)
    assert said in finding.text
    assert str(finding) == f"{severity}, {rule_id}: {finding.text}"
    assert finding.evidence == {path: value}


@pytest.mark.parametrize(
    ("path", "value"),
    [("queue_pending", 999), ("publish_success_rate", 0.9), ("clips_ready", 10)],
)
def test_just_inside_a_bound_nothing_is_found(path: str, value: float):
    assert found({path: value}) == []


def test_a_bound_is_a_setting():
    settings = FindingSettings(finding_queue_pending=5)
    (finding,) = find(make_snapshot().view, settings)
    assert (finding.id, finding.limit) == ("queue_backlog", 5)


def test_values_that_are_not_known_or_of_another_kind_are_no_finding():
    view = View({"queue_pending": "many", "queue_failed": True, "clips_ready": None})
    assert find(view, SETTINGS) == []


def test_a_name_with_braces_is_shown_as_it_is():
    (finding,) = found({"additional_metrics.lanes.odd": {"name": "{0} {value}", "waiting": 700}})
    assert "lane {0} {value}" in finding.text


def test_a_rule_that_raises_finds_nothing_and_stops_no_other():
    @rule("broken", "ledger", "it is broken")
    def broken(view: View, limits: FindingSettings) -> Found | None:
        raise KeyError(str((view, limits)))

    view = make_snapshot({"queue_pending": 5000}).view
    assert [it.id for it in find(view, SETTINGS, rules=[broken, *RULES])] == ["queue_backlog"]


def test_a_source_that_fails_does_not_hide_what_it_showed_before():
    before = found({"publish_success_rate": 0.3})
    failed = make_snapshot(
        {"publish_success_rate": None, "additional_metrics.errors": {"platform": "timed out"}}
    )
    now = find(failed.view, SETTINGS)
    kept = keep_stale(now, before, failed)
    assert [(it.id, it.is_stale) for it in kept] == [
        ("source_failed", False),
        ("publish_rate_low", True),
    ]
    assert score_of(kept) < score_of(before)


def test_what_a_working_source_does_not_show_any_more_is_gone():
    assert keep_stale([], found({"publish_success_rate": 0.3}), make_snapshot()) == []


def test_a_critical_finding_is_a_warning_at_best():
    critical = Finding("a", "critical", "", {}, weight=1)
    assert score_of([critical]) == 99
    assert health_of(99, [critical]) == "warning"
    assert [health_of(score, []) for score in (90, 89.9, 70, 69.9, 40, 39.9)] == [
        *("excellent", "good", "good", "warning", "warning", "critical"),
    ]


def test_a_weight_never_raises_the_score():
    assert score_of([Finding("a", "low", "", {}, weight=-50)]) == 100


def test_the_digest_is_of_rules_and_severities_not_of_values():
    one = Finding("a", "low", "1 of it", {"queue_pending": 1})
    other = replace(one, text="2 of it", evidence={"queue_pending": 2})
    assert digest_of([one]) == digest_of([other])
    assert digest_of([one]) != digest_of([replace(one, severity="high")])
    assert digest_of([one]) != digest_of([])


def test_the_worst_comes_first():
    listed = [Finding(it, it, "", {}) for it in ("low", "critical", "medium", "high")]  # pyright: ignore[reportArgumentType] - they are severities
    assert [it.severity for it in by_severity(listed)] == list(SEVERITIES)


@pytest.mark.parametrize(
    ("share", "written"),
    [
        pytest.param(43 / 45, "95.6 %", id="to the nearest tenth"),
        pytest.param(0.9999, "99.9 %", id="never the whole"),
        pytest.param(0.57, "57 %", id="whatever floats make of it"),
        pytest.param(0.0004, "0 %", id="next to nothing"),
        pytest.param(1.0, "100 %", id="the whole"),
        pytest.param(0.5, "50 %", id="without a tenth that says nothing"),
        pytest.param(1.25, "125 %", id="more than the whole"),
    ],
)
def test_a_share_is_written_as_people_round_it(share: float, written: str):
    assert write_share(share) == written
