"""The snapshot of the system at one moment (SPEC §5), and how its values are found by path.

A path names a value by its keys, with dots between them, as in `additional_metrics.prefect.late`.
Keys of entities are made by `key_of`, so that none holds a dot.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Final, cast

from pydantic import AwareDatetime, BaseModel, Field

MAX_RECENT_EVENTS: Final = 50
"""Events in a snapshot (SPEC §5)."""

MAX_KEY_CHARS: Final = 60

ERRORS: Final = "errors"
"""Where `additional_metrics` says which sources failed, and why."""

_NOT_IN_KEYS: Final = re.compile(r"[^A-Za-z0-9_-]+")


class SystemSnapshot(BaseModel, frozen=True):
    """The system at one moment; a value is null where its source failed or is not set up."""

    timestamp: AwareDatetime = Field(description="When it was taken, UTC.")
    queue_pending: int | None = Field(
        default=None, ge=0, description="Tasks that are claimed or deferred, and not computed yet."
    )
    queue_processing: int | None = Field(
        default=None, ge=0, description="Tasks that are computed now or whose report is on its way."
    )
    queue_failed: int | None = Field(
        default=None, ge=0, description="Tasks that failed for good: the dead letters."
    )
    queue_success: int | None = Field(
        default=None, ge=0, description="Tasks reported as succeeded, since ever."
    )
    scheduler_pending: int | None = Field(
        default=None, ge=0, description="Runs that are scheduled and have not begun."
    )
    scheduler_due_soon: int | None = Field(
        default=None, ge=0, description="Scheduled runs that are due within ten minutes, or late."
    )
    orchestrator_running: bool | None = Field(
        default=None, description="Whether a run is under way."
    )
    orchestrator_last_run: AwareDatetime | None = Field(
        default=None, description="When the newest run began, UTC."
    )
    orchestrator_actions_last_24h: int | None = Field(
        default=None, ge=0, description="Runs that began in the last 24 hours."
    )
    publish_success_rate: float | None = Field(
        default=None, ge=0, le=1, description="Share of publications that went well, 0 to 1, 24 h."
    )
    publish_total_24h: int | None = Field(
        default=None, ge=0, description="Publications in the last 24 hours."
    )
    publish_failed_24h: int | None = Field(
        default=None, ge=0, description="Publications that failed in the last 24 hours."
    )
    clips_ready: int | None = Field(default=None, ge=0, description="Clips ready to be published.")
    clips_pending_analysis: int | None = Field(
        default=None, ge=0, description="Clips that wait to be analysed."
    )
    jobs_pending: int | None = Field(
        default=None, ge=0, description="Runs that are due and wait for a worker."
    )
    jobs_failed: int | None = Field(
        default=None, ge=0, description="Runs that failed or crashed in the last 24 hours."
    )
    campaigns_active: int | None = Field(default=None, ge=0, description="Campaigns under way.")
    campaigns_draft: int | None = Field(
        default=None, ge=0, description="Campaigns that are still drafts."
    )
    alerts_critical: int | None = Field(default=None, ge=0, description="Open critical alerts.")
    alerts_warning: int | None = Field(default=None, ge=0, description="Open warnings.")
    platform_stats: dict[str, dict[str, float]] = Field(
        default_factory=dict[str, dict[str, float]], description="Figures of each platform."
    )
    best_clips: dict[str, dict[str, Any]] = Field(
        default_factory=dict[str, dict[str, Any]], description="The best clip of each platform."
    )
    rule_weights: dict[str, float] = Field(
        default_factory=dict[str, float], description="Weights of the platform's own rules."
    )
    recent_events: tuple[dict[str, Any], ...] = Field(
        default=(),
        max_length=MAX_RECENT_EVENTS,
        description="The newest events, newest first, 50 at most.",
    )
    additional_metrics: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        description="Further figures by source, and under `errors` the sources that failed.",
    )

    @cached_property
    def view(self) -> "View":
        """The values by their paths."""
        return View(self.model_dump(mode="json"))

    @property
    def failed_sources(self) -> Mapping[str, str]:
        """The sources that failed, each with what went wrong."""
        found = self.additional_metrics.get(ERRORS)
        return cast("dict[str, str]", found) if isinstance(found, dict) else {}


class View:
    """The values of a snapshot by their paths; what is not there is `None`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def get(self, path: str) -> Any:
        """Return the value at a path, `None` where there is none."""
        found: Any = self.values
        for key in path.split("."):
            if not isinstance(found, Mapping):
                return None
            found = cast("Mapping[str, Any]", found).get(key)
        return found

    def number(self, path: str) -> float | None:
        """Return the finite number at a path; `None` for everything else, a boolean among it."""
        found = self.get(path)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        return found if math.isfinite(found) else None

    def text(self, path: str) -> str:
        """Return the text at a path, an empty one for everything else."""
        found = self.get(path)
        return found if isinstance(found, str) else ""

    def keys(self, path: str) -> list[str]:
        """Return the keys of the object at a path, sorted; none for everything else."""
        found = self.get(path)
        return sorted(cast("Mapping[str, Any]", found)) if isinstance(found, Mapping) else []

    def leaves(self) -> Iterator[str]:
        """Yield the paths of all numbers, in order."""
        yield from _leaves(self.values, "")


def _leaves(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in cast("Mapping[str, Any]", value).items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def key_of(name: str) -> str:
    """Return a name as a key of a path: letters, digits, `_` and `-`, at most 60 characters."""
    return _NOT_IN_KEYS.sub("_", name)[:MAX_KEY_CHARS].strip("_") or "unnamed"


def keyed(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return rows by names as rows by keys, each with its name; names that share a key count on."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(rows):
        key = base = key_of(name)
        number = 2
        while key in found:
            key, number = f"{base}_{number}", number + 1
        found[key] = {"name": name, **rows[name]}
    return found


def age_s(at: datetime | None, now: datetime) -> float | None:
    """Return how long ago a moment was, seconds, 0 at least; `None` where it is not known."""
    return None if at is None else max(0.0, (now - at).total_seconds())
