"""Rules about the queue: the ledger, its leases and dead letters, and the lanes."""

from collections.abc import Mapping
from typing import Any, Final

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
from aletheia.text.grammar import agree

_INTAKE: Final = "additional_metrics.intake"
_LANES: Final = "additional_metrics.lanes"


def _worst_lane(evidence: Mapping[str, object]) -> Mapping[str, Any]:
    """Return the lane that a finding names first."""
    path = next(iter(evidence), "")
    lane = path.removeprefix(f"{_LANES}.").partition(".")[0]
    return {"lane": lane} if path.startswith(f"{_LANES}.") else {}


_WORK_OFF: Final = Advice(
    "Work off the queue",
    "Start a shift that drains what is pending, beside the ones that are scheduled.",
    "Pending tasks are answered sooner.",
    "performance",
    "low",
    "process_queue",
)


@rule(
    "queue_backlog",
    "ledger",
    "many tasks are pending",
    _WORK_OFF,
    because=("intake_paused", "blocked_head", "breaker_open", "limit_reached", "no_worker"),
)
def queue_backlog(view: View, limits: FindingSettings) -> Found | None:
    """Find more pending tasks than a shift works off."""
    return find_above(
        view,
        "queue_pending",
        "{value} [task is|tasks are] pending; from {limit} on that is a backlog",
        (limits.finding_queue_pending, "medium"),
        (limits.finding_queue_pending_high, "high"),
    )


@rule(
    "queue_failures",
    "ledger",
    "tasks failed for good",
    Advice(
        "Replay the dead letters",
        "Send the tasks that failed for good through once more.",
        "Tasks whose cause has passed are answered after all.",
        "performance",
        "low",
        "retry_failed_jobs",
    ),
    because=("breaker_open", "task_failures"),
)
def queue_failures(view: View, limits: FindingSettings) -> Found | None:
    """Find dead letters that wait for somebody."""
    return find_above(
        view,
        "queue_failed",
        "{value} dead [letter waits|letters wait] for a replay; the bound is {limit}",
        (limits.finding_queue_failed, "low"),
        (limits.finding_queue_failed_high, "high"),
    )


@rule(
    "intake_paused",
    "ledger",
    "intake is paused",
    Advice(
        "Resume intake",
        "Run `aletheia intake resume` if the reason for the pause has passed.",
        "Shifts claim tasks again.",
        "system",
        "low",
    ),
)
def intake_paused(view: View, _: FindingSettings) -> Found | None:
    """Find that an operator paused intake."""
    path = f"{_INTAKE}.is_paused"
    if view.get(path) is not True:
        return None
    return Found("medium", "intake is paused: no shift claims anything", {path: True})


@rule(
    "blocked_head",
    "ledger",
    "pending tasks that must wait hide the others",
    Advice(
        "Clear the head of the upstream's list",
        "Tasks that must wait fill the whole page that the upstream lists; settle or move them.",
        "Tasks behind them are seen again.",
        "performance",
        "medium",
    ),
)
def blocked_head(view: View, _: FindingSettings) -> Found | None:
    """Find pending tasks that must wait and hide what comes after them."""
    path = f"{_INTAKE}.blocked_head"
    text = "{value} pending [task|tasks] must wait, and [hides|hide] the others"
    return find_above(view, path, text, (1, "critical"))


@rule(
    "unacknowledged",
    "ledger",
    "reports are not acknowledged",
    Advice(
        "Mend the upstream's answers",
        "The upstream answers reports with something that is no acknowledgement; see its log.",
        "Finished tasks count as finished at the upstream.",
        "system",
        "medium",
    ),
)
def unacknowledged(view: View, _: FindingSettings) -> Found | None:
    """Find reports that the upstream answers with something else than an acknowledgement."""
    path = f"{_INTAKE}.unacknowledged"
    if not (count := view.number(f"{path}.count")):
        return None
    counted = agree(f"{count:,.0f} [report is|reports are] not acknowledged", count)
    text = view.text(f"{path}.said") or counted
    evidence = {f"{path}.count": count, f"{path}.answer": view.text(f"{path}.answer")}
    return Found("critical", text, evidence)


@rule(
    "clock_ahead",
    "ledger",
    "clocks of pollers differ",
    Advice(
        "Set the clocks of the pollers",
        "Synchronise the clock of the machine that is named, for example by NTP.",
        "Leases last as long as they say.",
        "system",
        "low",
    ),
)
def clock_ahead(view: View, _: FindingSettings) -> Found | None:
    """Find a poller whose clock is ahead of another one's."""
    path = f"{_INTAKE}.clock_ahead"
    if not (ahead_s := view.number(f"{path}.ahead_s")):
        return None
    owner = view.text(f"{path}.owner")
    text = (
        view.text(f"{path}.said") or f"clocks differ: that of {owner!r} was {ahead_s:.0f} s ahead"
    )
    return Found("high", text, {f"{path}.owner": owner, f"{path}.ahead_s": ahead_s})


@rule(
    "leases_expired",
    "ledger",
    "leases have run out",
    Advice(
        "Start a shift that takes over",
        "Claims whose lease ran out are taken over by the next shift; start one now.",
        "Interrupted tasks go on.",
        "performance",
        "low",
        "process_queue",
    ),
    because=("runs_crashed", "no_worker"),
)
def leases_expired(view: View, limits: FindingSettings) -> Found | None:
    """Find claims that nobody works on any more."""
    return find_above(
        view,
        f"{_INTAKE}.leases_expired",
        "{value} [lease has|leases have] run out; the bound is {limit}",
        (limits.finding_leases_expired, "medium"),
    )


@rule(
    "takeover_overdue",
    "ledger",
    "nobody takes over interrupted tasks",
    _WORK_OFF,
    because=("no_worker", "intake_paused"),
)
def takeover_overdue(view: View, limits: FindingSettings) -> Found | None:
    """Find interrupted tasks that should have been taken over long ago."""
    path = f"{_INTAKE}.oldest_expired_s"
    text = "an interrupted task has waited {value} for its takeover"
    said = write_duration(view.number(path) or 0)
    return find_above(view, path, text, (limits.finding_takeover_seconds, "high"), said=said)


@rule(
    "tasks_deferred",
    "ledger",
    "claimed tasks are deferred",
    because=("breaker_open", "limit_reached", "budget_spent"),
)
def tasks_deferred(view: View, limits: FindingSettings) -> Found | None:
    """Find claimed tasks that limits, budgets or breakers hold back."""
    return find_above(
        view,
        f"{_INTAKE}.waiting",
        "{value} claimed [task is|tasks are] deferred; the bound is {limit}",
        (limits.finding_tasks_deferred, "medium"),
    )


@rule(
    "lane_backlog",
    "lanes",
    "a lane is long",
    Advice(
        "Work off the lane",
        "Start a run that computes what waits in the lane.",
        "Long tasks are answered sooner.",
        "performance",
        "low",
        "process_pending_jobs",
        payload_of=_worst_lane,
    ),
    because=("no_worker", "breaker_open"),
)
def lane_backlog(view: View, limits: FindingSettings) -> Found | None:
    """Find a lane with more tasks than its workers take."""
    text = "{value} [task waits|tasks wait] in lane {entity}; the bound is {limit}"
    return find_worst(view, _LANES, "waiting", text, (limits.finding_lane_waiting, "medium"))


@rule("lane_age", "lanes", "a task has waited long in a lane", because=("no_worker",))
def lane_age(view: View, limits: FindingSettings) -> Found | None:
    """Find a lane whose oldest task has waited too long."""
    text = "the oldest task in lane {entity} has waited {value} s; the bound is {limit} s"
    return find_worst(view, _LANES, "oldest_age_s", text, (limits.finding_lane_age_seconds, "high"))


@rule(
    "task_failures",
    "telemetry",
    "a large share of tasks fails",
    because=("breaker_open",),
)
def task_failures(view: View, limits: FindingSettings) -> Found | None:
    """Find that many of the tasks since the last snapshot failed."""
    path = "additional_metrics.telemetry.task_failure_share"
    text = "{value} of the tasks since the last snapshot failed"
    said = f"{(view.number(path) or 0) * 100:.0f} %"
    return find_above(view, path, text, (limits.finding_task_failure_share, "medium"), said=said)


RULES: Final[tuple[Rule, ...]] = (
    blocked_head,
    unacknowledged,
    clock_ahead,
    queue_backlog,
    queue_failures,
    intake_paused,
    leases_expired,
    takeover_overdue,
    tasks_deferred,
    lane_backlog,
    lane_age,
    task_failures,
)
