"""What reasoning needs from outside the library's own store: Prefect, platform, counters."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from aletheia.series import Counters

ReadCounters: TypeAlias = Callable[[], Awaitable[Counters]]
"""Reads the counters of the store."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What the Prefect API says of runs at one moment; counts unless the name says otherwise."""

    scheduled: int  # runs that have not begun
    due_soon: int  # those of them that are due within ten minutes, or late
    late: int  # those of them whose time has passed
    pending: int  # due runs that wait for a worker
    running: int
    started_24h: int
    failed_24h: int  # failed or crashed
    crashed_24h: int
    gather_failed_24h: int
    workers_online: int
    workers_offline: int
    last_run_at: datetime | None  # when the newest run began
    oldest_running_at: datetime | None  # when the oldest one under way began


class RunReader(Protocol):
    """Reads runs and workers from the Prefect API."""

    async def read(self, now: datetime) -> RunFigures:
        """Return what is there at a moment.

        Raises:
            Unavailable: the API does not answer.
            Refused: it does not let us in.
        """
        ...


@dataclass(frozen=True, slots=True)
class Query:
    """Which documents of one of the platform's collections are meant."""

    collection: str
    equals: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Names of fields, and the values that each may have."""
    time: str = ""  # name of a field with a moment
    since: datetime | None = None  # from when on that must be


class PlatformData(Protocol):
    """The platform's own collections, which are only read."""

    async def has(self, collection: str) -> bool:
        """Return whether there is such a collection with anything in it."""
        ...

    async def count(self, query: Query) -> int:
        """Count documents. Raises `Unavailable`: the server does not answer in time."""
        ...

    async def read(
        self, collection: str, fields: Sequence[str], *, best_by: str = "", limit: int
    ) -> list[dict[str, Any]]:
        """Read some fields of documents, those with the largest `best_by` first where one is named.

        Raises:
            Unavailable: the server does not answer in time.
        """
        ...
