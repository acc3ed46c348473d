"""How a gather run is resumed, by its state (SPEC §4, State and resume)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aletheia.errors import AletheiaError
from aletheia.gather.models import Run
from aletheia.gather.overrides import Overrides
from aletheia.gather.progress import StopReason


class Step(StrEnum):
    """What resumes a run."""

    LEAVE = "leave"  # it goes on by itself
    RESUME = "resume"  # it is suspended
    RESTART = "restart"  # it has failed or lost its process, and goes on once it is scheduled


_STEPS: Final = {
    "SCHEDULED": Step.LEAVE,
    "PENDING": Step.LEAVE,
    "RUNNING": Step.LEAVE,
    "PAUSED": Step.RESUME,
    "FAILED": Step.RESTART,
    "CRASHED": Step.RESTART,
}


_WORDS: Final = {"awaitingretry": "waiting for its retry"}


@dataclass(eq=False)
class NotResumable(AletheiaError):
    """A run cannot go on."""

    code = "not_resumable"

    run_id: str
    reason: str

    def __str__(self) -> str:
        return f"run {self.run_id!r} cannot be resumed: {self.reason}"


def choose_step(run_id: str, state: str, *, is_abandoned: bool) -> Step:
    """Return what resumes a run that is neither over nor taken over.

    Raises:
        NotResumable: it cannot go on.
    """
    if state == "RUNNING" and is_abandoned:
        return Step.RESTART
    if state in _STEPS:
        return _STEPS[state]
    verb = "is being cancelled" if state == "CANCELLING" else f"is {state.lower()}"
    raise NotResumable(run_id, f"it {verb}; start another one")


def describe_step(run: Run, step: Step, overrides: Overrides, *, state: str) -> str:
    """Return some sentences for an operator about what happens to a run."""
    match step:
        case Step.RESUME:
            said = [f"Run {run.id} goes on from where it was."]
        case Step.RESTART:
            said = [f"Run {run.id} was {state}; it is started again and goes on from the store."]
        case Step.LEAVE if state == "running":
            said = [f"Run {run.id} is at work; there is nothing to resume."]
            if overrides != Overrides():
                said = [f"Run {run.id} is at work; the change holds from its next iteration on."]
        case Step.LEAVE:
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
