"""How a gather run is resumed, and with which other limits (SPEC §4, State and resume)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from aletheia.documents import Change, Document
from aletheia.errors import InvalidTask
from aletheia.gather.errors import NotResumable
from aletheia.gather.progress import MAX_ITERATIONS, Run, RunProgress, StopReason


@dataclass(frozen=True, slots=True)
class Overrides:
    """Limits of a run that an operator has changed; every iteration reads them.

    Raises:
        InvalidTask: `invalid_override`; one is out of its range.
    """

    max_iterations: int | None = None  # of the whole run, 1 to `MAX_ITERATIONS`; `None` leaves it
    thresholds: Mapping[str, float] = field(default_factory=dict[str, float])  # 0 to 100, by slug

    def __post_init__(self) -> None:
        if self.max_iterations is not None and not 1 <= self.max_iterations <= MAX_ITERATIONS:
            bounds = f"1 to {MAX_ITERATIONS:,}"
            raise _wrong(f"max_iterations must be {bounds}, not {self.max_iterations}")
        for slug, threshold in self.thresholds.items():
            if not 0 <= threshold <= 100:  # noqa: PLR2004 - the scale of quality
                raise _wrong(f"the threshold of {slug!r} must be in 0..100, not {threshold!r}")


def _wrong(message: str) -> InvalidTask:
    return InvalidTask("invalid_override", message)


def apply_overrides(progress: RunProgress, found: Document) -> RunProgress:
    """Return the progress of a run with what an operator has changed in its document."""
    changed = found["overrides"]
    departments = tuple(
        replace(
            department,
            threshold=changed["thresholds"].get(
                f"d{position}", department.department.quality_threshold
            ),
        )
        for position, department in enumerate(progress.departments)
    )
    return RunProgress(changed["max_iterations"] or found["max_iterations"], departments)


def override_change(progress: RunProgress, overrides: Overrides) -> Change:
    """Return the change that writes overrides to the document of a run.

    Raises:
        InvalidTask: `invalid_override`; no such department, or it was announced as complete.
    """
    values: dict[str, Any] = {}
    if overrides.max_iterations is not None:
        values["overrides.max_iterations"] = overrides.max_iterations
    positions = {known.department.slug: at for at, known in enumerate(progress.departments)}
    for slug, threshold in overrides.thresholds.items():
        if slug not in positions:
            raise _wrong(f"no department {slug!r} in this run, only {sorted(positions)}")
        reason = progress.departments[positions[slug]].reason
        if reason not in (None, StopReason.NO_ITERATIONS_LEFT):
            words = reason.replace("_", " ")
            raise _wrong(f"department {slug!r} is done in this run ({words})")
        values[f"overrides.thresholds.d{positions[slug]}"] = float(threshold)
    return Change(set=values)


Step: TypeAlias = Literal["leave", "resume", "restart"]
"""What resumes a run: nothing, as it goes on by itself; `resume`, as it is suspended; `restart`, as
it has failed or lost its process, and goes on once it is scheduled."""

_STEPS: Final[Mapping[str, Step]] = {
    "SCHEDULED": "leave",
    "PENDING": "leave",
    "RUNNING": "leave",
    "PAUSED": "resume",
    "FAILED": "restart",
    "CRASHED": "restart",
}

_WORDS: Final = {"awaitingretry": "waiting for its retry"}


def choose_step(run_id: str, state: str, *, is_abandoned: bool) -> Step:
    """Return what resumes a run that is neither over nor taken over.

    Raises:
        NotResumable: it cannot go on.
    """
    if state == "RUNNING" and is_abandoned:
        return "restart"
    if state in _STEPS:
        return _STEPS[state]
    verb = "is being cancelled" if state == "CANCELLING" else f"is {state.lower()}"
    raise NotResumable(run_id, f"it {verb}; start another one")


def describe_step(run: Run, step: Step, overrides: Overrides, *, state: str) -> str:
    """Return some sentences for an operator about what happens to a run."""
    match step:
        case "resume":
            said = [f"Run {run.id} goes on from where it was."]
        case "restart":
            said = [f"Run {run.id} was {state}; it is started again and goes on from the store."]
        case "leave" if state == "running":
            said = [f"Run {run.id} is at work; there is nothing to resume."]
            if overrides != Overrides():
                said = [f"Run {run.id} is at work; the change holds from its next iteration on."]
        case "leave":
            said = [f"Run {run.id} is {_WORDS.get(state, state)} and starts by itself."]
    progress = run.progress
    said.append(f"{progress.iterations} of {progress.max_iterations} iterations are used.")
    spent = [
        known.department.slug
        for known in progress.departments
        if known.reason is StopReason.MAX_ITERATIONS_REACHED
    ]
    if overrides.max_iterations is not None and spent:
        names = ", ".join(spent)
        said.append(f"Announced as complete, and left to another run: {names}.")
    return " ".join(said)
