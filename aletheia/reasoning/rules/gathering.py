"""Rules about gather runs, their evaluations, the Brain and events."""

from typing import Final

from aletheia.reasoning.rules.rule import (
    Advice,
    Found,
    Rule,
    find_above,
    find_worst,
    rule,
    write_duration,
)
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import View

_METRICS: Final = "additional_metrics"
_BRAIN: Final = f"{_METRICS}.brain"
_GATHER: Final = f"{_METRICS}.gather"

_RECONCILE: Final = Advice(
    "Reconcile the Brain",
    "Compare the Brain with what is saved and repair what differs.",
    "Search and context know every saved item.",
    "content",
    "low",
    "reconcile",
)
_SWEEP: Final = Advice(
    "Sweep",
    "Start a sweep, which starts what was requested and sends what could not be sent.",
    "Work that no run has done is done.",
    "system",
    "low",
    "sweep",
)


@rule(
    "gather_failed",
    "prefect",
    "gather runs failed",
    Advice(
        "Run the gather again",
        "A gather run failed; what it saved stays, and a new run goes on from there.",
        "Departments reach their threshold.",
        "content",
        "low",
        "gather_project",
    ),
    because=("breaker_open", "budget_spent", "limit_reached"),
)
def gather_failed(view: View, limits: FindingSettings) -> Found | None:
    """Find gather runs that failed."""
    return find_above(
        view,
        f"{_METRICS}.prefect.gather_failed_24h",
        "{value} gather [run|runs] failed in 24 h; the bound is {limit}",
        (limits.finding_gather_failed, "medium"),
    )


@rule(
    "gather_stalled",
    "gather",
    "a gather run has been open for long",
    because=("no_worker", "breaker_open", "limit_reached"),
)
def gather_stalled(view: View, limits: FindingSettings) -> Found | None:
    """Find a gather run that does not end."""
    path = f"{_GATHER}.oldest_open_s"
    said = write_duration(view.number(path) or 0)
    text = "a gather run has been open for {value}"
    return find_above(view, path, text, (limits.finding_gather_seconds, "medium"), said=said)


@rule(
    "evaluations_waiting", "gather", "evaluations never got a run", _SWEEP, because=("no_worker",)
)
def evaluations_waiting(view: View, limits: FindingSettings) -> Found | None:
    """Find evaluations that were requested and never began."""
    return find_above(
        view,
        f"{_GATHER}.evaluations_waiting",
        "{value} [evaluation|evaluations] never got a run; the bound is {limit}",
        (limits.finding_evaluations_waiting, "medium"),
    )


@rule("brain_behind", "brain", "the Brain is behind", _SWEEP, because=("breaker_open",))
def brain_behind(view: View, limits: FindingSettings) -> Found | None:
    """Find a project of which much waits for the Brain."""
    text = (
        "{value} [batch|batches] of project {entity} [waits|wait] for the Brain; "
        "the bound is {limit}"
    )
    return find_worst(view, _BRAIN, "waiting", text, (limits.finding_brain_waiting, "medium"))


@rule("brain_refused", "brain", "the Brain refused items", _RECONCILE)
def brain_refused(view: View, limits: FindingSettings) -> Found | None:
    """Find a project of which the Brain refused items."""
    text = "the Brain refused {value} [item|items] of project {entity}"
    return find_worst(view, _BRAIN, "refused", text, (limits.finding_brain_refused, "low"))


@rule("events_given_up", "events", "events were given up", _SWEEP, because=("breaker_open",))
def events_given_up(view: View, limits: FindingSettings) -> Found | None:
    """Find events that their receivers did not get."""
    path = f"{_METRICS}.events.given_up"
    text = "{value} [event was|events were] given up: no receiver took [it|them]"
    return find_above(view, path, text, (limits.finding_dead_events, "low"))


RULES: Final[tuple[Rule, ...]] = (
    gather_failed,
    gather_stalled,
    evaluations_waiting,
    brain_behind,
    brain_refused,
    events_given_up,
)
