"""Writes the evaluation set of system reasoning: `python -m bench.reasoning_set`.

Snapshots with the findings they have to lead to, and claims of ten wrong kinds beside true ones.
It knows nothing of the rules and checks that are measured: bounds and links stand here as
docs/decisions/0020-reasoning.md has them, and every label follows from how a record was made.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

from bench.reasoning_claims import make_claims

DATA: Final = Path(__file__).parent / "data" / "reasoning"

PER_LEVEL: Final = 15
LEVELS: Final = 4
HEALTHY: Final = 10
SEED: Final = 20_261_130

Values: TypeAlias = dict[str, Any]
Problem: TypeAlias = Callable[[Values, Random, bool], set[str]]
"""Puts a problem into a snapshot, at its very bound or beyond; returns the rules that find it."""


def healthy(random: Random) -> Values:
    """Return a snapshot of a system that is well, with the noise of every day."""
    total = random.randint(30, 200)
    failed = random.randint(0, total // 25)
    return {
        "timestamp": "2026-11-30T10:00:00+00:00",
        "queue_pending": random.randint(0, 600),
        "queue_processing": random.randint(0, 200),
        "queue_failed": random.randint(0, 8),
        "queue_success": random.randint(1000, 2_000_000),
        "scheduler_pending": random.randint(3, 300),
        "scheduler_due_soon": random.randint(0, 3),
        "orchestrator_running": True,
        "orchestrator_last_run": "2026-11-30T09:58:00+00:00",
        "orchestrator_actions_last_24h": random.randint(150, 400),
        "publish_success_rate": round((total - failed) / total, 6),
        "publish_total_24h": total,
        "publish_failed_24h": failed,
        "clips_ready": random.randint(11, 80),
        "clips_pending_analysis": random.randint(0, 90),
        "jobs_pending": random.randint(0, 10),
        "jobs_failed": random.randint(0, 2),
        "campaigns_active": random.randint(1, 9),
        "campaigns_draft": random.randint(0, 15),
        "alerts_critical": 0,
        "alerts_warning": random.randint(0, 8),
        "platform_stats": {"video": {"followers": 900.0}},
        "rule_weights": {"freshness": 0.5},
        "recent_events": [],
        "additional_metrics": {
            "sources": 12,
            "intake": {
                "is_paused": False,
                "blocked_head": 0,
                "leases_held": random.randint(0, 256),
                "leases_expired": random.randint(0, 10),
                "waiting": random.randint(0, 60),
                "oldest_expired_s": random.uniform(0, 200),
            },
            "telemetry": {"task_failure_share": round(random.uniform(0, 0.1), 4)},
            "lanes": {
                "media": {"name": "media", "waiting": random.randint(0, 300)},
                "llm": {"name": "llm", "waiting": random.randint(0, 200)},
            },
            "breakers": {
                "openai": {"name": "openai", "state": "closed", "failures": random.randint(0, 2)},
                "brain": {"name": "brain", "state": "closed", "failures": 0},
            },
            "limits": {
                "openai_per_day": {
                    "name": "openai per day",
                    "share": round(random.uniform(0, 0.7), 4),
                    "refusals": random.randint(0, 90),
                }
            },
            "budgets": {
                "BUDGET_USD_PER_DAY": {
                    "name": "BUDGET_USD_PER_DAY",
                    "share": round(random.uniform(0, 0.7), 4),
                }
            },
            "brain": {"shop": {"name": "shop", "waiting": random.randint(0, 90), "refused": 0}},
            "models": {"loaded": 1, "memory_share": round(random.uniform(0.1, 0.8), 4)},
            "gather": {
                "open": random.randint(0, 2),
                "oldest_open_s": random.uniform(0, 900),
                "evaluations_waiting": random.randint(0, 5),
                "last_items_created": random.randint(20, 90),
                "last_departments_processed": random.randint(2, 6),
                "last_iterations": random.randint(4, 50),
            },
            "events": {"given_up": 0},
            "prefect": {
                "running": random.randint(1, 4),
                "late": random.randint(0, 2),
                "crashed_24h": random.randint(0, 1),
                "gather_failed_24h": 0,
                "workers_online": random.randint(1, 3),
                "workers_offline": 0,
                "last_run_age_s": random.uniform(5, 900),
                "longest_run_s": random.uniform(0, 600),
            },
            "reasoning": {"failures": 0},
        },
    }


def put(values: Values, path: str, value: object) -> None:
    """Set the value at a path."""
    *keys, last = path.split(".")
    found = values
    for key in keys:
        found = found.setdefault(key, {})
    found[last] = value


def _from(path: str, bound: float, rules: str, *, factor: float = 3, whole: bool = True) -> Problem:
    """Return a problem: a number from a bound on."""

    def make(values: Values, random: Random, at_bound: bool) -> set[str]:
        value = bound if at_bound else bound * random.uniform(1.1, factor)
        put(values, path, round(value) if whole else value)
        return set(rules.split())

    return make


def _value(path: str, value: object, rules: str) -> Problem:
    """Return a problem: a value that is wrong by itself."""

    def make(values: Values, random: Random, at_bound: bool) -> set[str]:
        del random, at_bound
        put(values, path, value)
        return set(rules.split())

    return make


def _publish(values: Values, random: Random, at_bound: bool) -> set[str]:
    total = 1000
    succeeded = 899 if at_bound else random.randint(200, 890)
    values["publish_total_24h"] = total
    values["publish_failed_24h"] = total - succeeded
    values["publish_success_rate"] = succeeded / total
    return {"publish_rate_low", "publish_failures"}


def _clips(values: Values, random: Random, at_bound: bool) -> set[str]:
    values["clips_ready"] = 9 if at_bound else random.randint(1, 8)
    return {"clips_low"}


def _unacknowledged(values: Values, random: Random, at_bound: bool) -> set[str]:
    count = 1 if at_bound else random.randint(2, 400)
    put(
        values,
        "additional_metrics.intake.unacknowledged",
        {"count": count, "answer": "a web page", "said": f"{count} reports are not acknowledged"},
    )
    return {"unacknowledged"}


def _clock(values: Values, random: Random, at_bound: bool) -> set[str]:
    ahead = 6.0 if at_bound else random.uniform(10, 4000)
    put(values, "additional_metrics.intake.clock_ahead", {"owner": "host/1/a", "ahead_s": ahead})
    return {"clock_ahead"}


def _breaker(values: Values, random: Random, at_bound: bool) -> set[str]:
    name = random.choice(["openai", "brain"])
    put(values, f"additional_metrics.breakers.{name}.state", "half_open" if at_bound else "open")
    put(values, f"additional_metrics.breakers.{name}.failures", random.randint(5, 9))
    return {"breaker_open", "breaker_failing"}


def _source(values: Values, random: Random, at_bound: bool) -> set[str]:
    name = random.choice(["platform", "prefect"])
    put(values, f"additional_metrics.errors.{name}", "no answer within 5 s")
    del at_bound
    return {"source_failed"}


_M: Final = "additional_metrics"
_GLARING: Final[Sequence[Problem]] = (
    _from("queue_pending", 1000, "queue_backlog", factor=30),
    _from("queue_failed", 10, "queue_failures", factor=90),
    _value(f"{_M}.intake.is_paused", True, "intake_paused"),
    _from(f"{_M}.intake.blocked_head", 1, "blocked_head", factor=900),
    _unacknowledged,
    _clock,
    _from(f"{_M}.intake.leases_expired", 20, "leases_expired"),
    _from(f"{_M}.intake.oldest_expired_s", 900, "takeover_overdue", whole=False),
    _from(f"{_M}.intake.waiting", 100, "tasks_deferred"),
    _from(f"{_M}.lanes.media.waiting", 500, "lane_backlog"),
    _from(f"{_M}.lanes.llm.oldest_age_s", 3600, "lane_age", whole=False),
    _from(f"{_M}.telemetry.task_failure_share", 0.2, "task_failures", factor=4, whole=False),
    _from(f"{_M}.prefect.late", 3, "runs_late", factor=9),
    _from("scheduler_pending", 1000, "scheduler_backlog"),
    _from("jobs_pending", 20, "jobs_waiting"),
    _from("jobs_failed", 3, "runs_failed", factor=9),
    _from(f"{_M}.prefect.crashed_24h", 2, "runs_crashed", factor=5),
    _from(f"{_M}.prefect.last_run_age_s", 3600, "orchestrator_silent", whole=False),
    _value(f"{_M}.prefect.workers_online", 0, "no_worker"),
    _from(f"{_M}.prefect.workers_offline", 1, "workers_lost", factor=4),
    _from(f"{_M}.prefect.longest_run_s", 7200, "run_long", whole=False),
    _publish,
    _value("publish_total_24h", 0, "publish_silent"),
    _value("clips_ready", 0, "clips_missing clips_low"),
    _clips,
    _from("clips_pending_analysis", 100, "clips_unanalysed"),
    _value("campaigns_active", 0, "campaigns_none"),
    _from("campaigns_draft", 20, "campaigns_drafts"),
    _from("alerts_critical", 1, "critical_alerts", factor=9),
    _from("alerts_warning", 10, "many_warnings"),
    _breaker,
    _from(f"{_M}.budgets.BUDGET_USD_PER_DAY.share", 1, "budget_spent budget_near", whole=False),
    _from(f"{_M}.budgets.BUDGET_USD_PER_DAY.share", 0.8, "budget_near", factor=1.2, whole=False),
    _from(f"{_M}.limits.openai_per_day.share", 1, "limit_reached limit_near", whole=False),
    _from(f"{_M}.limits.openai_per_day.refusals", 500, "limit_refusals"),
    _from(f"{_M}.models.memory_share", 0.95, "models_memory", factor=1.05, whole=False),
    _from(f"{_M}.reasoning.failures", 3, "explanations_fail"),
    _source,
    _from(f"{_M}.prefect.gather_failed_24h", 1, "gather_failed", factor=5),
    _from(f"{_M}.gather.oldest_open_s", 3600, "gather_stalled", whole=False),
    _from(f"{_M}.gather.evaluations_waiting", 10, "evaluations_waiting"),
    _from(f"{_M}.brain.shop.waiting", 200, "brain_behind"),
    _from(f"{_M}.brain.shop.refused", 1, "brain_refused", factor=90),
    _from(f"{_M}.events.given_up", 1, "events_given_up", factor=40),
)
"""Every problem, with the rules that have to find it."""


def make_snapshots() -> Iterator[Mapping[str, Any]]:
    """Yield the labelled snapshots: one problem; three; one at its very bound; six and gaps."""
    random = Random(SEED)
    turn = 0
    for level in range(1, LEVELS + 1):
        for place in range(PER_LEVEL):
            values = healthy(random)
            expected: set[str] = set()
            count = {1: 1, 2: 3, 3: 2, 4: 6}[level]
            for _ in range(count):
                problem = _GLARING[turn % len(_GLARING)]
                turn += 1 if level == 1 else 7
                expected |= problem(values, random, level == 3)
            if level == LEVELS:
                _make_gaps(values, random, place)
                expected |= {"source_failed"}
            yield {
                "id": f"level-{level}-{place + 1}",
                "level": level,
                "expected": sorted(_still_there(expected, values)),
                "snapshot": values,
            }


def make_healthy() -> Iterator[Mapping[str, Any]]:
    """Yield noisy snapshots in which nothing is wrong."""
    random = Random(SEED + 1)
    for place in range(HEALTHY):
        values = healthy(random)
        yield {"id": f"healthy-{place + 1}", "level": 0, "expected": [], "snapshot": values}


def _make_gaps(values: Values, random: Random, place: int) -> None:
    """Make a source fail whose fields no problem of ours is about, and name entities oddly."""
    put(values, f"{_M}.errors.weights", "no answer within 5 s")
    values["rule_weights"] = {}
    odd = ["{0} ignore this", "a.b.c", "%s", "</data>"][place % 4]
    put(values, f"{_M}.breakers.odd", {"name": odd, "state": "closed", "failures": 0})
    put(values, f"{_M}.lanes.odd", {"name": odd, "waiting": random.randint(0, 9)})


def _still_there(expected: set[str], values: Values) -> set[str]:
    """Leave out what a later problem of the same snapshot undid: both changed one value."""
    gone: set[str] = set()
    if values["publish_total_24h"] == 0:
        gone |= set() if values["publish_failed_24h"] >= 20 else {"publish_failures"}
    elif values["publish_total_24h"]:
        gone |= {"publish_silent"}
    if values["clips_ready"]:
        gone |= {"clips_missing"}
    budget = values[_M]["budgets"]["BUDGET_USD_PER_DAY"]["share"]
    if budget < 1:
        gone |= {"budget_spent"}
    return expected - gone


def write() -> None:
    """Write the set."""
    DATA.mkdir(parents=True, exist_ok=True)
    snapshots = [*make_snapshots(), *make_healthy()]
    _write("snapshots.jsonl", snapshots)
    situations, claims = make_claims(
        [copy.deepcopy(healthy(Random(SEED + place))) for place in range(8)]
    )
    _write("situations.jsonl", situations)
    _write("claims.jsonl", claims)


def _write(name: str, records: Sequence[Mapping[str, Any]]) -> None:
    lines = [json.dumps(record, sort_keys=True) for record in records]
    (DATA / name).write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    write()
