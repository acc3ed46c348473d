"""Whether the upstream lets us in, or a 403 is about one task (SPEC §1, Reporting)."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from aletheia.errors import AletheiaError, Refused, Unauthorized

MAX_IN_A_ROW: Final = 3
"""So many tasks refused in a row, none accepted between, are not the tasks' fault."""

TROUBLE: Final = "reports to the upstream"
"""Under what name a 403 is known until another report is accepted."""


class Forbidden:
    """What the upstream has accepted and forbidden so far; `troubles` has what is in the way."""

    def __init__(self, troubles: dict[str, AletheiaError]) -> None:
        self._troubles = troubles
        self._accepted: set[str] = set()
        self._in_a_row: set[str] = set()

    @property
    def is_ours(self) -> bool:
        """Whether the upstream does not let us in, whatever the task."""
        return len(self._in_a_row) >= MAX_IN_A_ROW

    def note(self, task_id: str, answer: AletheiaError | None) -> None:
        """Note what was in the way of a report; `None` where it was accepted."""
        if answer is None:
            self._in_a_row.clear()
            self._troubles.pop(TROUBLE, None)
            # Two ids tell whether any other one was accepted.
            if len(self._accepted) < 2:  # noqa: PLR2004 - see above
                self._accepted.add(task_id)
        elif isinstance(answer, Unauthorized) and answer.status == HTTPStatus.FORBIDDEN:
            self._in_a_row.add(task_id)

    def is_lock_out(self, answer: AletheiaError | None) -> bool:
        """Return whether an answer says that the upstream does not let us in."""
        is_denial = isinstance(answer, Unauthorized)
        return is_denial and (answer.status != HTTPStatus.FORBIDDEN or self.is_ours)

    def check(self, answers: Iterable[AletheiaError | None]) -> None:
        """Raise the first of some answers that says that the upstream does not let us in."""
        for answer in answers:
            if answer is not None and self.is_lock_out(answer):
                raise answer

    def is_refusal_of(self, task_id: str, answer: AletheiaError) -> bool:
        """Return whether an answer is about a task, for good; a 403 may be trouble of ours."""
        if not isinstance(answer, Unauthorized):
            return isinstance(answer, Refused)
        if self.is_lock_out(answer):
            return False
        # It is about this one where others were accepted.
        is_of_task = bool(self._accepted - {task_id})
        if not is_of_task:
            self._troubles[TROUBLE] = answer
        return is_of_task
