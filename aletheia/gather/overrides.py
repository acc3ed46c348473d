"""What an operator changes of a gather run that is not over (SPEC §4, State and resume)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aletheia.documents import Change, Document
from aletheia.errors import InvalidTask
from aletheia.gather.progress import MAX_ITERATIONS, RunProgress, StopReason


@dataclass(frozen=True, slots=True)
class Overrides:
    """Limits of a run that an operator has changed; every iteration reads them.

    Raises:
        InvalidTask: `invalid_override`; one is out of its range.
    """

    max_iterations: int | None = None  # of the whole run, 1 to `MAX_ITERATIONS`; `None` leaves it
    thresholds: Mapping[str, float] = field(default_factory=dict[str, float])  # 0 to 100, by slug

    def __post_init__(self) -> None:
        if self.max_iterations is not None and self.max_iterations < 1:
            raise _wrong(f"max_iterations must be at least 1, not {self.max_iterations}")
        if (self.max_iterations or 0) > MAX_ITERATIONS:
            limit = f"at most {MAX_ITERATIONS:,}"
            raise _wrong(f"max_iterations must be {limit}, not {self.max_iterations}")
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
