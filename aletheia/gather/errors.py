"""What stops somebody from opening, writing or changing a gather run."""

from dataclasses import dataclass

from aletheia.errors import AletheiaError


@dataclass(eq=False)
class ProjectBusy(AletheiaError):
    """Another run has the project's lock."""

    code = "project_busy"

    project_id: str
    run_id: str
    state: str

    def __str__(self) -> str:
        return (
            f"project {self.project_id!r} is held by run {self.run_id!r}, which is {self.state}: "
            "resume, cancel or await that one"
        )


@dataclass(eq=False)
class RunSuperseded(AletheiaError):
    """A run cannot be resumed: another one has taken its project over."""

    code = "run_superseded"

    run_id: str
    by: str

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} cannot be resumed: run {self.by!r} has taken its project over, "
            "and goes on from the items it had saved"
        )


@dataclass(eq=False)
class LockLost(AletheiaError):
    """Another attempt, or another run, has taken over what this one was working on."""

    code = "lock_lost"

    run_id: str

    def __str__(self) -> str:
        return f"run {self.run_id!r} was taken over by another attempt or run"


@dataclass(eq=False)
class UnknownRun(AletheiaError):
    """There is no such run."""

    code = "unknown_run"

    run_id: str

    def __str__(self) -> str:
        return f"there is no gather run {self.run_id!r}, or it has not begun"


@dataclass(eq=False)
class RunOver(AletheiaError):
    """A run is over and stays as it is."""

    code = "run_over"

    run_id: str
    status: str

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} is over ({self.status}): start another one, which goes on from "
            "the items that are saved"
        )


@dataclass(eq=False)
class AnswersUnreadable(AletheiaError):
    """A run is over, and in vain: what models answered could not be used."""

    code = "unreadable_answers"

    run_id: str
    reason: str

    def __str__(self) -> str:
        return f"gather run {self.run_id} was in vain: {self.reason}"


class TimeIsUp(AletheiaError):
    """A generation has not ended in the time that an attempt has."""

    code = "time_is_up"

    def __str__(self) -> str:
        return "the time of this attempt was over before the model had answered"
