"""Claims of ten wrong kinds, and true ones, about situations whose every value is known.

A situation is a snapshot, the one before it, and what the rules find. Every label follows from how
the claim was made: a wrong one is made wrong on purpose, in one way.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final, TypeAlias

Values: TypeAlias = dict[str, Any]
Record: TypeAlias = dict[str, Any]

_M: Final = "additional_metrics"

NAMES: Final[Mapping[str, str]] = {
    "queue_pending": "pending tasks",
    "queue_processing": "tasks being processed",
    "queue_failed": "dead letters",
    "scheduler_pending": "scheduled runs",
    "jobs_failed": "failed runs",
    "publish_failed_24h": "failed publications",
    "publish_total_24h": "finished publications",
    "publish_success_rate": "success rate of publications",
    "clips_ready": "clips ready",
    "campaigns_active": "active campaigns",
    "campaigns_draft": "campaign drafts",
    "alerts_warning": "warning alerts",
    f"{_M}.intake.leases_held": "leases held",
    f"{_M}.prefect.running": "runs in progress",
    f"{_M}.prefect.workers_online": "workers online",
    f"{_M}.gather.last_items_created": "items created by the newest gather run",
}
"""What a prompt calls the values that claims are made of."""

NOT_FLAGGED: Final = ("queue_pending", "queue_failed", "clips_ready", "campaigns_active")
MOVED: Final = ("queue_processing", "scheduler_pending", "campaigns_draft", "clips_ready")
"""Values of a situation that nothing is found about, and those that moved since the one before."""

LARGER: Final = (
    ("queue_pending", "queue_failed"),
    ("publish_total_24h", "publish_failed_24h"),
    ("queue_processing", "queue_failed"),
)
"""Values of one kind, the larger one first."""

SITUATIONS: Final = 8

FINDINGS: Final[Mapping[str, str]] = {
    "queue_backlog": "queue_pending",
    "many_warnings": "alerts_warning",
    "runs_failed": "jobs_failed",
}
"""What is found in every second situation, and the value that it rests on."""


def make_claims(bases: Sequence[Values]) -> tuple[list[Record], list[Record]]:
    """Return situations, and claims about them: at least 400 wrong ones, and true ones."""
    random = Random(4)
    situations = [_make_situation(place, base, random) for place, base in enumerate(bases)]
    claims = [
        {"id": f"{kind}-{number}", "situation": situation["id"], "kind": kind, **claim}
        for situation in situations
        for number, (kind, claim) in enumerate(_all_claims(situation, random))
    ]
    return situations, claims


def _make_situation(place: int, base: Values, random: Random) -> Record:
    """Return a situation; in every second one there are findings."""
    now, before = copy.deepcopy(base), copy.deepcopy(base)
    before["timestamp"] = "2026-11-30T09:59:30+00:00"
    now |= {"queue_pending": 420 + place, "queue_failed": 3, "queue_processing": 77 + place}
    now |= {"publish_total_24h": 90, "publish_failed_24h": 3, "publish_success_rate": 0.966667}
    # Equal on purpose: the right value of the wrong path.
    now |= {"clips_ready": 14, "campaigns_draft": 14, "alerts_warning": 2, "campaigns_active": 2}
    if place % 2:
        now |= {"queue_pending": 4200 + place, "alerts_warning": 17, "jobs_failed": 6}
    before |= {name: now[name] for name in now if name.startswith(("publish", "alerts", "jobs"))}
    before |= {"queue_pending": now["queue_pending"], "queue_failed": 5, "clips_ready": 9}
    for path in ("queue_processing", "scheduler_pending", "campaigns_draft"):
        before[path] = max(0, now[path] + random.choice([-1, 1]) * random.randint(1, 9))
        if before[path] == now[path]:
            before[path] = now[path] + 1
    return {"id": f"situation-{place + 1}", "snapshot": now, "before": before}


def _all_claims(situation: Record, random: Random) -> Iterator[tuple[str, Record]]:
    now, before = situation["snapshot"], situation["before"]
    yield from _number(now)
    yield from _unit()
    yield from _entity()
    yield from _direction(now, before)
    yield from _negation(now)
    yield from _quantifier()
    yield from _wrong_path()
    yield from _stale(now, before)
    yield from _unknown_path()
    yield from _cause(now)
    yield from _true(now, before, random)


def _claim(text: str, *refs: str, relation: str = "equal", role: str = "insight") -> Record:
    return {"claim": {"text": text, "refs": list(refs), "relation": relation}, "role": role}


def _value(values: Values, path: str) -> float:
    found: Any = values
    for key in path.split("."):
        found = found[key]
    return float(found)


def _number(now: Values) -> Iterator[tuple[str, Record]]:
    """Yield claims with a figure, right or wrong, in digits or words."""
    right = int(now["queue_pending"])
    for text in (
        f"There are {right} pending tasks",
        f"{right + 7} tasks are pending, {{1}}",
        "{1}, about 5000",
        "some two hundred tasks are pending: {1}",
        "{1}, twice the figure of yesterday",
        "{1} (94.2%)",
        "{1} is 1.5x the normal value",
    ):
        yield "number", _claim(text, "queue_pending")


def _unit() -> Iterator[tuple[str, Record]]:
    """Yield claims with a unit that is not the value's, or that compare two units."""
    for text, ref in (
        ("{1} seconds", "queue_pending"),
        ("{1} percent", "queue_failed"),
        ("{1.name}: {1.value} hours", "clips_ready"),
        ("{1} dollars", "queue_pending"),
        ("{1} megabytes", "scheduler_pending"),
    ):
        yield "unit", _claim(text, ref)
    yield "unit", _claim("{1} is above {2}", "queue_pending", "clips_ready", relation="above")
    yield (
        "unit",
        _claim("{1} is below {2}", "publish_success_rate", "clips_ready", relation="below"),
    )


def _entity() -> Iterator[tuple[str, Record]]:
    """Yield claims that name somebody or something else than what they refer to."""
    for text, ref in (
        ("openai has {1}", f"{_M}.breakers.dependency_1.failures"),
        ("Redis shows {1}", f"{_M}.breakers.dependency_2.failures"),
        ("the marketing department has {1}", "queue_pending"),
        ("customers have {1}", "clips_ready"),
        ("project alpha: {1}", f"{_M}.brain.project_1.waiting"),
        ("gather runs: {1}", "queue_pending"),
    ):
        yield "entity", _claim(text, ref)


def _direction(now: Values, before: Values) -> Iterator[tuple[str, Record]]:
    """Yield claims that say up where it went down, more where it is less, or the other way."""
    for path in MOVED:
        has_risen = _value(now, path) > _value(before, path)
        wrong, right = ("fell", "rose") if has_risen else ("rose", "fell")
        text = f"{{1.name}} {wrong} from {{1.before}} to {{1.value}}"
        yield "direction", _claim(text, path, relation=wrong)
        yield "direction", _claim(text, path, relation=right)
        yield "direction", _claim(f"{{1}} {wrong}", path)
    larger, smaller = LARGER[0]
    yield "direction", _claim("{1} is below {2}", larger, smaller, relation="below")
    yield "direction", _claim("{1} is below {2}", larger, smaller, relation="above")
    yield "direction", _claim("{2} is above {1}", larger, smaller, relation="above")
    yield "direction", _claim("Above {1} is {2}", larger, smaller, relation="above")
    yield "direction", _claim("{1} is exceeded by {2}", larger, smaller, relation="above")


def _negation(now: Values) -> Iterator[tuple[str, Record]]:
    """Yield claims that deny what is so."""
    del now
    for text, ref in (
        ("{1} are not pending", "queue_pending"),
        ("there are no {1}", "queue_pending"),
        ("{1} without attention", "queue_failed"),
        ("neither {1}", "clips_ready"),
        ("{1} is never a problem", "queue_failed"),
        ("it isn't {1}", "campaigns_active"),
    ):
        yield "negation", _claim(text, ref)
    larger, smaller = LARGER[0]
    yield "negation", _claim("{1} is not above {2}", larger, smaller, relation="above")


def _quantifier() -> Iterator[tuple[str, Record]]:
    """Yield claims about how many of them, which no value says."""
    for text, ref in (
        ("all {1}", "queue_pending"),
        ("none of {1}", "queue_failed"),
        ("every one of {1} needs attention", "queue_failed"),
        ("only {1}", "clips_ready"),
        ("most of {1}", "campaigns_draft"),
        ("everything is normal: {1}", "clips_ready"),
        ("at least {1}", "queue_pending"),
    ):
        yield "quantifier", _claim(text, ref)


def _wrong_path() -> Iterator[tuple[str, Record]]:
    """Yield claims with the right value, taken from another path."""
    for name, ref in (
        ("clips ready", "campaigns_draft"),
        ("campaign drafts", "clips_ready"),
        ("active campaigns", "alerts_warning"),
        ("warning alerts", "campaigns_active"),
        ("failed publications", "queue_failed"),
        ("dead letters", "publish_failed_24h"),
        ("failed runs", f"{_M}.prefect.gather_failed_24h"),
    ):
        yield "wrong_path", _claim(f"{name}: {{1}}", ref)


def _stale(now: Values, before: Values) -> Iterator[tuple[str, Record]]:
    """Yield claims that held at the snapshot before, or are about what is gone."""
    del now, before
    # There were more dead letters before than there are now, and fewer clips.
    yield "stale", _claim("{1.name} rose", "queue_failed", relation="rose")
    yield (
        "stale",
        _claim("{1.name} fell from {1.before} to {1.value}", "clips_ready", relation="fell"),
    )
    yield "stale", _claim("{1} equals {2}", "campaigns_draft", "queue_failed")
    yield "stale", _claim("{1}", "breaker_open")  # a finding of an earlier run
    yield (
        "stale",
        _claim("{1} is above {2}", "queue_pending", "bounds.lane_backlog", relation="above"),
    )
    yield "stale", _claim("{1} still", "queue_pending")
    yield "stale", _claim("{1.before} pending tasks", "queue_pending")


def _unknown_path() -> Iterator[tuple[str, Record]]:
    """Yield claims about what is not there, or not on the list."""
    for ref in (
        "queue_depth",
        "additional_metrics.secret",
        f"{_M}.breakers.openai.failures",  # by its own name, which no prompt has
        "recent_events",
        "recent_events.length",
        "rule_weights.freshness",
        "platform_stats.video.followers",
    ):
        yield "unknown_path", _claim("There are {1}", ref)


def _cause(now: Values) -> Iterator[tuple[str, Record]]:
    """Yield claims about why, which no rule says."""
    yield "cause", _claim("{1} because {2}", "queue_pending", "queue_failed", relation="because")
    yield "cause", _claim("{1} because of {2}", "queue_pending", "queue_failed")
    yield "cause", _claim("{1} due to {2}", "jobs_failed", "queue_failed")
    yield "cause", _claim("{1} caused by the system", "queue_failed")
    yield "cause", _claim("{1}, therefore it needs attention", "queue_failed")
    yield "cause", _claim("{1} since the system is busy", "queue_pending")
    if now["alerts_warning"] > 9:
        # Both are found, and no rule links them.
        yield (
            "cause",
            _claim(
                "{1.name} because {2.name}", "queue_backlog", "many_warnings", relation="because"
            ),
        )


def _true(now: Values, before: Values, random: Random) -> Iterator[tuple[str, Record]]:
    """Yield claims that hold, in the forms that the prompt allows."""
    for path, name in NAMES.items():
        text = random.choice(
            ["{1}", "There are {1}", "The system currently has {1}", "{1} now", "It shows {1}"]
        )
        yield "true", _claim(text, path)
        yield "true", _claim(f"{name.capitalize()}: {{1}}", path)
        yield "true", _claim("{1.name}: {1.value}", path)
    for path in MOVED:
        word = "rose" if _value(now, path) > _value(before, path) else "fell"
        yield (
            "true",
            _claim(f"{{1.name}} {word} from {{1.before}} to {{1.value}}", path, relation=word),
        )
        yield "true", _claim(f"{{1.name}} {word}", path, relation=word)
    for larger, smaller in LARGER:
        yield "true", _claim("{1} is above {2}", larger, smaller, relation="above")
        yield "true", _claim("{1} is below {2}", smaller, larger, relation="below")
        yield "true", _claim("{1} and {2}", larger, smaller)
    yield (
        "true",
        _claim(
            "{1} are {share} of {2}", "publish_failed_24h", "publish_total_24h", relation="share of"
        ),
    )
    yield (
        "true",
        _claim(
            "{share} of {2} are {1.name}",
            "publish_failed_24h",
            "publish_total_24h",
            relation="share of",
        ),
    )
    for path in NOT_FLAGGED[1:]:
        yield "true", _claim("{1} is normal", path, role="positive")
    if now["alerts_warning"] > 9:
        for finding, path in FINDINGS.items():
            yield "true", _claim("{1}", finding, role="concern")
            yield "true", _claim("Attention: {1}", finding, role="concern")
            yield "true", _claim("{1} needs attention", path, role="concern")
            yield (
                "true",
                _claim(
                    "{1} is above {2}", path, f"bounds.{finding}", relation="above", role="concern"
                ),
            )
