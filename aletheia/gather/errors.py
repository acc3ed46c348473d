"""What stops somebody from opening, writing, changing or resuming a gather run."""

from dataclasses import dataclass

from aletheia.errors import AletheiaError


@dataclass(eq=False)
class RunError(AletheiaError):
    """An error about a run."""

    run_id: str


@dataclass(eq=False)
class ProjectBusy(RunError):
    """Another run has the project's lock."""

    code = "project_busy"
    sentence = (
        "project {project_id!r} is held by run {run_id!r}, which is {state}: resume, cancel or "
        "await that one"
    )

    project_id: str
    state: str


@dataclass(eq=False)
class RunSuperseded(RunError):
    """A run cannot be resumed: another one has taken its project over."""

    code = "run_superseded"
    sentence = (
        "run {run_id!r} cannot be resumed: run {by!r} has taken its project over, and goes on from "
        "the items it had saved"
    )

    by: str


class LockLost(RunError):
    """Another attempt, or another run, has taken over what this one was working on."""

    code = "lock_lost"
    sentence = "run {run_id!r} was taken over by another attempt or run"


class UnknownRun(RunError):
    """There is no such run."""

    code = "unknown_run"
    sentence = "there is no gather run {run_id!r}, or it has not begun"


@dataclass(eq=False)
class RunOver(RunError):
    """A run is over and stays as it is."""

    code = "run_over"
    sentence = (
        "run {run_id!r} is over ({status}): start another one, which goes on from the items that "
        "are saved"
    )

    status: str


@dataclass(eq=False)
class NotResumable(RunError):
    """A run cannot go on."""

    code = "not_resumable"
    sentence = "run {run_id!r} cannot be resumed: {reason}"

    reason: str


@dataclass(eq=False)
class AnswersUnreadable(RunError):
    """A run is over, and in vain: what models answered could not be used."""

    code = "unreadable_answers"
    sentence = "gather run {run_id} was in vain: {reason}"

    reason: str


class TimeIsUp(RunError):
    """A generation has not ended in the time that an attempt has."""

    code = "time_is_up"
    sentence = "the time of this attempt was over before the model had answered"
