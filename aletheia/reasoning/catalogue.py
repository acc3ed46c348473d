"""The allow-list of snapshot paths: what each value is called, in which unit, over which time.

Only these paths reach a prompt, and only they can be referred to by a claim. A `*` in a pattern
stands for one key, that of an entity: its name is never in a prompt, an alias is.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeAlias

from aletheia.reasoning.rules.rule import write_duration, write_number, write_share
from aletheia.reasoning.snapshot import View

Unit: TypeAlias = Literal[
    "tasks",
    "runs",
    "publications",
    "clips",
    "campaigns",
    "alerts",
    "share",
    "seconds",
    "usd or tokens",
    "requests",
    "failures",
    "batches",
    "items",
    "events",
    "workers",
    "models",
    "bytes",
    "evaluations",
    "leases",
    "departments",
    "iterations",
]
"""Values are compared within one unit, and one window, alone."""

DAY: Final = "in the last 24 hours"

_WORD: Final = re.compile(r"[a-z]+")
_KEY: Final = r"[A-Za-z0-9_-]+"
_SMALL_WORDS: Final = frozenset(
    {"a", "as", "by", "being", "for", "in", "of", "that", "the", "without", "others"}
)


@dataclass(frozen=True)
class Measure:
    """What a value is.

    `name` is a noun phrase without a figure; `one` the same for a single thing, where it counts
    things. `entity` says what a `*` of its pattern stands for; a name has it as `{entity}`.
    `worse` is the direction in which it gets worse, where it has one. `also` are further words that
    a sentence about it may use.
    """

    name: str
    unit: Unit
    one: str = ""
    window: str = ""
    entity: str = ""
    worse: Literal["up", "down", ""] = "up"
    also: str = ""

    @cached_property
    def words(self) -> frozenset[str]:
        """The words that a sentence about it may use; its window is added without them."""
        further = f"{self.one} {self.also}".replace("{entity}", self.entity).lower()
        return self.own_words | frozenset(_WORD.findall(further))

    @cached_property
    def own_words(self) -> frozenset[str]:
        """The words of its name that mean something."""
        named = self.name.replace("{entity}", self.entity).lower()
        return frozenset(_WORD.findall(named)) - _SMALL_WORDS

    def title(self, entity: str = "") -> str:
        """Return its name, with that of the entity, and its window."""
        name = self.name.replace("{entity}", entity)
        return f"{name} {self.window}".strip()

    def amount(self, value: float) -> str:
        """Return a value with its unit."""
        match self.unit:
            case "share":
                return write_share(value)
            case "seconds":
                return write_duration(value)
            case "bytes":
                return f"{value / 2**20:,.0f} MiB"
            case _:
                return write_number(value)

    def phrase(self, value: float, entity: str = "") -> str:
        """Return a value with what it is, as part of a sentence."""
        if self.one:
            name = self.one if value == 1 else self.name
            counted = f"{self.amount(value)} {name}".replace("{entity}", entity)
            return f"{counted} {self.window}".strip()
        return f"{self.title(entity)} ({self.amount(value)})"


_M: Final = "additional_metrics"

MEASURES: Final[Mapping[str, Measure]] = {
    "queue_pending": Measure(
        "pending tasks", "tasks", "pending task", also="queue wait waiting of the"
    ),
    "queue_processing": Measure("tasks being processed", "tasks", "task being processed", worse=""),
    "queue_failed": Measure("dead letters", "tasks", "dead letter"),
    "queue_success": Measure(
        "tasks reported as succeeded", "tasks", "task reported as succeeded", worse=""
    ),
    "scheduler_pending": Measure("scheduled runs", "runs", "scheduled run"),
    "scheduler_due_soon": Measure("runs due soon", "runs", "run due soon", worse=""),
    "orchestrator_actions_last_24h": Measure(
        "runs begun", "runs", "run begun", window=DAY, worse=""
    ),
    "publish_success_rate": Measure(
        "success rate of publications", "share", window=DAY, worse="down"
    ),
    "publish_total_24h": Measure(
        "finished publications", "publications", "finished publication", DAY, worse=""
    ),
    "publish_failed_24h": Measure(
        "failed publications", "publications", "failed publication", window=DAY
    ),
    "clips_ready": Measure("clips ready", "clips", "clip ready", worse="down"),
    "clips_pending_analysis": Measure(
        "clips waiting for analysis", "clips", "clip waiting for analysis"
    ),
    "jobs_pending": Measure("runs waiting for a worker", "runs", "run waiting for a worker"),
    "jobs_failed": Measure("failed runs", "runs", "failed run", window=DAY),
    "campaigns_active": Measure("active campaigns", "campaigns", "active campaign", worse="down"),
    "campaigns_draft": Measure("campaign drafts", "campaigns", "campaign draft"),
    "alerts_critical": Measure("critical alerts", "alerts", "critical alert"),
    "alerts_warning": Measure("warning alerts", "alerts", "warning alert"),
    f"{_M}.intake.blocked_head": Measure(
        "tasks hiding others upstream", "tasks", "task hiding others upstream"
    ),
    f"{_M}.intake.leases_held": Measure("leases held", "leases", "lease held", worse=""),
    f"{_M}.intake.leases_expired": Measure("expired leases", "leases", "expired lease"),
    f"{_M}.intake.oldest_expired_s": Measure("age of the oldest expired lease", "seconds"),
    f"{_M}.intake.waiting": Measure("deferred tasks", "tasks", "deferred task"),
    f"{_M}.intake.unacknowledged.count": Measure(
        "unacknowledged reports", "tasks", "unacknowledged report"
    ),
    f"{_M}.intake.clock_ahead.ahead_s": Measure("difference of clocks", "seconds"),
    f"{_M}.telemetry.task_failure_share": Measure("failure share of recent tasks", "share"),
    f"{_M}.lanes.*.waiting": Measure(
        "tasks waiting in lane {entity}", "tasks", "task waiting in lane {entity}", entity="lane"
    ),
    f"{_M}.lanes.*.oldest_age_s": Measure(
        "age of the oldest task in lane {entity}", "seconds", entity="lane"
    ),
    f"{_M}.breakers.*.failures": Measure(
        "consecutive failures of {entity}",
        "failures",
        "failure of {entity}",
        entity="dependency",
    ),
    f"{_M}.limits.*.share": Measure(
        "used share of the rate limit of {entity}", "share", entity="provider"
    ),
    f"{_M}.limits.*.refusals": Measure(
        "requests refused by the rate limit of {entity}",
        "requests",
        "request refused by the rate limit of {entity}",
        entity="provider",
    ),
    f"{_M}.budgets.*.share": Measure("spent share of {entity}", "share", entity="budget"),
    f"{_M}.brain.*.waiting": Measure(
        "batches of project {entity} waiting for the Brain",
        "batches",
        "batch of project {entity} waiting for the Brain",
        entity="project",
    ),
    f"{_M}.brain.*.refused": Measure(
        "items of project {entity} that the Brain refused",
        "items",
        "item of project {entity} that the Brain refused",
        entity="project",
    ),
    f"{_M}.gather.open": Measure("open gather runs", "runs", "open gather run", worse=""),
    f"{_M}.gather.oldest_open_s": Measure("age of the oldest open gather run", "seconds"),
    f"{_M}.gather.last_items_created": Measure(
        "items created by the newest gather run",
        "items",
        "item created by the newest gather run",
        worse="",
    ),
    f"{_M}.gather.last_departments_processed": Measure(
        "departments in the newest gather run",
        "departments",
        "department in the newest gather run",
        worse="",
    ),
    f"{_M}.gather.last_iterations": Measure(
        "iterations of the newest gather run",
        "iterations",
        "iteration of the newest gather run",
        worse="",
    ),
    f"{_M}.gather.evaluations_waiting": Measure(
        "evaluations without a run", "evaluations", "evaluation without a run"
    ),
    f"{_M}.events.given_up": Measure("events given up", "events", "event given up"),
    f"{_M}.models.loaded": Measure("loaded models", "models", "loaded model", worse=""),
    f"{_M}.models.memory_share": Measure("memory share of loaded models", "share"),
    f"{_M}.prefect.running": Measure("runs in progress", "runs", "run in progress", worse=""),
    f"{_M}.prefect.late": Measure("late runs", "runs", "late run"),
    f"{_M}.prefect.crashed_24h": Measure("crashed runs", "runs", "crashed run", window=DAY),
    f"{_M}.prefect.gather_failed_24h": Measure(
        "failed gather runs", "runs", "failed gather run", window=DAY
    ),
    f"{_M}.prefect.workers_online": Measure(
        "workers online", "workers", "worker online", worse="down"
    ),
    f"{_M}.prefect.workers_offline": Measure("workers offline", "workers", "worker offline"),
    f"{_M}.prefect.last_run_age_s": Measure("time since the newest run began", "seconds"),
    f"{_M}.prefect.longest_run_s": Measure("age of the oldest run in progress", "seconds"),
}
"""The measures, by pattern of their paths."""

WHOLES: Final[Mapping[str, str]] = {
    "publish_failed_24h": "publish_total_24h",
    f"{_M}.prefect.crashed_24h": "jobs_failed",
    f"{_M}.prefect.gather_failed_24h": "jobs_failed",
    f"{_M}.prefect.late": "scheduler_due_soon",
    "scheduler_due_soon": "scheduler_pending",
}
"""Parts, and the wholes that they are always parts of: what `share of` may be said about."""

_PATTERNS: Final = {
    re.compile(re.escape(pattern).replace(r"\*", _KEY)): pattern for pattern in MEASURES
}


def pattern_of(path: str) -> str | None:
    """Return the pattern that a path has, `None` where it is not on the list."""
    if path in MEASURES:
        return path
    return next((known for rule, known in _PATTERNS.items() if rule.fullmatch(path)), None)


def measure_of(path: str) -> Measure | None:
    """Return what the value at a path is, `None` where it is not on the list."""
    pattern = pattern_of(path)
    return None if pattern is None else MEASURES[pattern]


def entity_path(path: str) -> str:
    """Return the path of the entity that a value is of, an empty one where it is of none."""
    pattern = pattern_of(path)
    if pattern is None or "*" not in pattern:
        return ""
    place = pattern.split(".").index("*")
    return ".".join(path.split(".")[: place + 1])


def entity_of(path: str, view: View) -> str:
    """Return the name of the entity that a value is of, an empty one where it is of none."""
    entity = entity_path(path)
    return view.text(f"{entity}.name") or entity.rpartition(".")[2] if entity else ""


def listed_paths(view: View) -> Iterator[str]:
    """Yield the paths of a snapshot that are on the list and have a number."""
    for path in view.leaves():
        if pattern_of(path) is not None:
            yield path
