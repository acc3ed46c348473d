"""Rules about runs: the scheduler, workers, and what failed."""

from typing import Final

from aletheia.reasoning.rules.rule import Advice, Found, Rule, find_above, rule, write_duration
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import View

_PREFECT: Final = "additional_metrics.prefect"

_SWEEP: Final = Advice(
    "Sweep",
    "Start a sweep, which starts what was requested and never began and ends what is stuck.",
    "Work that no run has done is done.",
    "system",
    "low",
    "sweep",
)


@rule("runs_late", "prefect", "runs are late", _SWEEP, because=("no_worker",))
def runs_late(view: View, limits: FindingSettings) -> Found | None:
    """Find scheduled runs whose time has passed."""
    return find_above(
        view,
        f"{_PREFECT}.late",
        "{value} [run is|runs are] late; the bound is {limit}",
        (limits.finding_runs_late, "medium"),
        (limits.finding_runs_late_high, "high"),
    )


@rule("scheduler_backlog", "prefect", "many runs are scheduled")
def scheduler_backlog(view: View, limits: FindingSettings) -> Found | None:
    """Find more scheduled runs than schedules make by themselves."""
    return find_above(
        view,
        "scheduler_pending",
        "{value} [run is|runs are] scheduled; the bound is {limit}",
        (limits.finding_scheduler_pending, "medium"),
    )


@rule("jobs_waiting", "prefect", "runs wait for a worker", _SWEEP, because=("no_worker",))
def jobs_waiting(view: View, limits: FindingSettings) -> Found | None:
    """Find runs that are due and that no worker has begun."""
    return find_above(
        view,
        "jobs_pending",
        "{value} [run waits|runs wait] for a worker; the bound is {limit}",
        (limits.finding_jobs_pending, "medium"),
    )


@rule(
    "runs_failed",
    "prefect",
    "runs failed",
    Advice(
        "Read the failed runs",
        "Open the failed runs in the Prefect UI; the newest one's message says what is wrong.",
        "Their cause is known, and mended once.",
        "system",
        "medium",
    ),
    because=("breaker_open", "brain_behind"),
)
def runs_failed(view: View, limits: FindingSettings) -> Found | None:
    """Find runs that failed or crashed."""
    return find_above(
        view,
        "jobs_failed",
        "{value} [run|runs] failed in 24 h; the bound is {limit}",
        (limits.finding_jobs_failed, "medium"),
        (limits.finding_jobs_failed_high, "high"),
    )


@rule("runs_crashed", "prefect", "runs lost their process")
def runs_crashed(view: View, limits: FindingSettings) -> Found | None:
    """Find runs whose process died."""
    return find_above(
        view,
        f"{_PREFECT}.crashed_24h",
        "{value} [run|runs] lost [its|their] process in 24 h; the bound is {limit}",
        (limits.finding_runs_crashed, "medium"),
    )


@rule(
    "orchestrator_silent",
    "prefect",
    "no run has begun for long",
    because=("no_worker",),
)
def orchestrator_silent(view: View, limits: FindingSettings) -> Found | None:
    """Find that nothing has begun for a long time."""
    path = f"{_PREFECT}.last_run_age_s"
    said = write_duration(view.number(path) or 0)
    text = "no run has begun for {value}"
    return find_above(view, path, text, (limits.finding_silence_seconds, "high"), said=said)


@rule(
    "no_worker",
    "prefect",
    "no worker is online",
    Advice(
        "Start a worker",
        "Start a worker of the work pool, for example by `aletheia up` on one machine.",
        "Runs begin again.",
        "system",
        "low",
    ),
)
def no_worker(view: View, _: FindingSettings) -> Found | None:
    """Find that no worker has sent a heartbeat lately."""
    path = f"{_PREFECT}.workers_online"
    if view.number(path) != 0:
        return None
    return Found("critical", "no worker is online: no run begins", {path: 0})


@rule("workers_lost", "prefect", "workers send no heartbeat", because=("runs_crashed",))
def workers_lost(view: View, limits: FindingSettings) -> Found | None:
    """Find workers that were there and are not any more."""
    return find_above(
        view,
        f"{_PREFECT}.workers_offline",
        "{value} [worker sends|workers send] no heartbeat; the bound is {limit}",
        (limits.finding_workers_lost, "medium"),
    )


@rule("run_long", "prefect", "a run takes very long", _SWEEP)
def run_long(view: View, limits: FindingSettings) -> Found | None:
    """Find a run that has been under way for too long."""
    path = f"{_PREFECT}.longest_run_s"
    said = write_duration(view.number(path) or 0)
    text = "a run has been under way for {value}"
    return find_above(view, path, text, (limits.finding_run_seconds, "medium"), said=said)


RULES: Final[tuple[Rule, ...]] = (
    no_worker,
    runs_late,
    scheduler_backlog,
    jobs_waiting,
    runs_failed,
    runs_crashed,
    orchestrator_silent,
    workers_lost,
    run_long,
)
