"""Whether a 403 is about one task or about us (SPEC §1, Reporting)."""

from typing import Final

MAX_IN_A_ROW: Final = 3
"""So many tasks refused in a row, none accepted between, are not the tasks' fault."""

FORBIDDEN: Final = 403


class Forbidden:
    """What the upstream has accepted and forbidden so far."""

    def __init__(self) -> None:
        self._accepted: set[str] = set()
        self._in_a_row: set[str] = set()

    @property
    def is_ours(self) -> bool:
        """Whether the upstream does not let us in, whatever the task."""
        return len(self._in_a_row) >= MAX_IN_A_ROW

    def note_accepted(self, task_id: str) -> None:
        """Note that the upstream has taken a report."""
        self._in_a_row.clear()
        # Two ids tell whether any other one was accepted.
        if len(self._accepted) < 2:  # noqa: PLR2004 - see above
            self._accepted.add(task_id)

    def note_forbidden(self, task_id: str) -> None:
        """Note that the upstream has answered a report with 403."""
        self._in_a_row.add(task_id)

    def is_of_task(self, task_id: str) -> bool:
        """Return whether a 403 is about a task: others were accepted."""
        return not self.is_ours and bool(self._accepted - {task_id})
