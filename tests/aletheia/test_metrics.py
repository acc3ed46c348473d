"""The table of all metrics: names, units, labels, and that all together fit a page."""

import re
from typing import get_args

import pytest

from aletheia.gather.progress import StopReason
from aletheia.intake.counting import LANES_WITH_WORKERS
from aletheia.intake.models import UNFINISHED
from aletheia.metrics import (
    BY_NAME,
    FINDINGS,
    LANE_WAITING,
    MAX_SERIES,
    METRICS,
    STOP_REASONS,
    TASKS,
    TIERS,
    UNFINISHED_STATES,
    bound_name,
)
from aletheia.reasoning.findings import Severity
from aletheia.resilience.limits import Tier
from aletheia.series import Metric
from aletheia.service.metrics import PROCESS_SERIES

SPEC = {
    "tasks by type and state": "aletheia_tasks_total",
    "durations": "aletheia_task_duration_seconds",
    "retries": "aletheia_task_retries_total",
    "queue wait": "aletheia_queue_wait_seconds",
    "auth": "aletheia_authentications_total",
    "upstream requests": "aletheia_upstream_requests_total",
    "tokens": "aletheia_tokens_total",
    "cost": "aletheia_cost_usd_total",
    "rate-limit usage": "aletheia_rate_limit_used",
    "limit": "aletheia_rate_limit",
    "exceeded events": "aletheia_rate_limit_exceeded_total",
    "breaker state": "aletheia_breaker_state",
    "iterations per department": "aletheia_gather_iterations_total",
    "items per iteration": "aletheia_gather_iteration_items",
    "quality": "aletheia_gather_quality_percent",
    "duplicate rate": "aletheia_gather_items_total",
    "time to threshold": "aletheia_gather_time_to_threshold_seconds",
    "LLM, dedup, MongoDB and Brain time": "aletheia_step_duration_seconds",
    "model load": "aletheia_model_load_seconds",
    "inference time": "aletheia_provider_call_duration_seconds",
    "memory": "aletheia_model_memory_bytes",
    "CPU": "aletheia_run_cpu_seconds_total",
    "lanes' depth": "aletheia_lane_waiting",
    "oldest age": "aletheia_lane_oldest_age_seconds",
    "reasoning runs": "aletheia_reasoning_runs_total",
    "findings": "aletheia_findings",
    "health score": "aletheia_health_score",
}
"""What SPEC §6 asks for, and the metric that answers."""


@pytest.mark.parametrize("name", SPEC.values())
def test_what_the_specification_asks_for_is_there(name: str):
    assert name in BY_NAME


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_advises(metric: Metric):
    assert re.fullmatch(r"aletheia_[a-z][a-z0-9_]*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    if metric.unit in ("seconds", "bytes"):
        assert metric.unit in metric.name
    assert metric.sentence.endswith(".")
    assert all(re.fullmatch(r"[a-z][a-z_]*", label.name) for label in metric.labels)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_has_a_bound_and_its_buckets_rise(metric: Metric):
    assert metric.max_sets > 0
    assert metric.max_named > 0
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.is_counted or metric.kind != "histogram"


def test_no_two_metrics_have_one_name():
    assert len(BY_NAME) == len(METRICS)


def test_all_metrics_together_never_have_more_lines_than_a_page_may():
    assert sum(metric.max_series for metric in METRICS) + PROCESS_SERIES <= MAX_SERIES


def test_closed_label_values_are_those_of_the_code_that_counts():
    assert set(STOP_REASONS) == set(StopReason)
    assert set(UNFINISHED_STATES) == set(UNFINISHED)
    assert tuple(Tier) == TIERS
    assert FINDINGS.labels[0].values == get_args(Severity)
    assert LANE_WAITING.labels[0].values == LANES_WITH_WORKERS


def test_a_number_of_no_metric_of_ours_stays_as_it_is():
    assert bound_name("aletheia_of_tomorrow_total|x", set()) == "aletheia_of_tomorrow_total|x"
    (name,) = TASKS.add("echo", "claimed")
    assert bound_name(name, set()) == name
