"""What stops somebody from opening, writing or changing a gather run."""

from aletheia.errors import AletheiaError


class ProjectBusy(AletheiaError):
    """Another run has the project's lock."""

    code = "project_busy"

    def __init__(self, project_id: str, run_id: str, state: str) -> None:
        super().__init__(project_id, run_id, state)
        self.project_id, self.run_id, self.state = project_id, run_id, state

    def __str__(self) -> str:
        return (
            f"project {self.project_id!r} is held by run {self.run_id!r}, which is {self.state}: "
            "resume, cancel or await that one"
        )


class RunSuperseded(AletheiaError):
    """A run cannot be resumed: another one has taken its project over."""

    code = "run_superseded"

    def __init__(self, run_id: str, by: str) -> None:
        super().__init__(run_id, by)
        self.run_id, self.by = run_id, by

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} cannot be resumed: run {self.by!r} has taken its project over, "
            "and goes on from the items it had saved"
        )


class LockLost(AletheiaError):
    """Another attempt, or another run, has taken over what this one was working on."""

    code = "lock_lost"

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id!r} was taken over by another attempt or run"


class UnknownRun(AletheiaError):
    """There is no such run."""

    code = "unknown_run"

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"there is no gather run {self.run_id!r}, or it has not begun"


class RunOver(AletheiaError):
    """A run is over and stays as it is."""

    code = "run_over"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(run_id, status)
        self.run_id, self.status = run_id, status

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} is over ({self.status}): start another one, which goes on from "
            "the items that are saved"
        )


class AnswersUnreadable(AletheiaError):
    """A run is over, and in vain: what models answered could not be used."""

    code = "unreadable_answers"

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id, self.reason = run_id, reason

    def __str__(self) -> str:
        return f"gather run {self.run_id} was in vain: {self.reason}"


class TimeIsUp(AletheiaError):
    """A generation has not ended in the time that an attempt has."""

    code = "time_is_up"

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return "the time of this attempt was over before the model had answered"
