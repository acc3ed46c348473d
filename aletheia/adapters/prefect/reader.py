"""Reads runs and workers from the Prefect API, for the snapshot of the system.

See https://docs.prefect.io/v3/api-ref/rest-api. It counts by filters, and reads no list of runs:
the server answers from its own indices, however many runs there are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote

from aletheia.adapters.http_answers import as_object, as_text
from aletheia.errors import BadAnswer
from aletheia.reasoning.ports import RunFigures

PREFECT: Final = "prefect"
"""What errors call the server."""

Post: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[object]]
"""Sends a JSON body to a path below `/api` and returns the JSON of the answer, or raises ours."""

DAY: Final = timedelta(days=1)
SOON: Final = timedelta(minutes=10)
MAX_POOLS: Final = 50
GATHER: Final = "automated_gather_creation"

_FAILED: Final = ("FAILED", "CRASHED")


class PrefectRuns:
    """Reads figures of runs and workers; a `RunReader`."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def read(self, now: datetime) -> RunFigures:
        """Return what is there at a moment. Raises `Unavailable`, `Refused`."""
        day = {"after_": (now - DAY).isoformat()}
        counts = [
            self._count(_states("SCHEDULED")),
            self._count({**_states("SCHEDULED"), **_expected_before(now + SOON)}),
            self._count({"state": {"name": {"any_": ["Late"]}}}),
            self._count(_states("PENDING")),
            self._count(_states("RUNNING")),
            self._count({"start_time": {**day, "is_null_": False}}),
            self._count({**_states(*_FAILED), "end_time": day}),
            self._count({**_states("CRASHED"), "end_time": day}),
            self._count({**_states(*_FAILED), "end_time": day}, flow=GATHER),
        ]
        begun = {"start_time": {"is_null_": False}}
        (
            (scheduled, due_soon, late, pending, running, started, failed, crashed, gather_failed),
            last,
            oldest,
            (online, offline),
        ) = await asyncio.gather(
            asyncio.gather(*counts),
            self._find_start(begun, "START_TIME_DESC"),
            self._find_start(_states("RUNNING"), "START_TIME_ASC"),
            self._count_workers(),
        )
        return RunFigures(
            scheduled=scheduled,
            due_soon=due_soon,
            late=late,
            pending=pending + late,
            running=running,
            started_24h=started,
            failed_24h=failed,
            crashed_24h=crashed,
            gather_failed_24h=gather_failed,
            workers_online=online,
            workers_offline=offline,
            last_run_at=last,
            oldest_running_at=oldest,
        )

    async def _count(self, runs: Mapping[str, Any], *, flow: str = "") -> int:
        body: dict[str, Any] = {"flow_runs": dict(runs)}
        if flow:
            body["flows"] = {"name": {"any_": [flow]}}
        found = await self._post("/flow_runs/count", body)
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            raise BadAnswer(PREFECT, "a count that is no number")
        return found

    async def _find_start(self, runs: Mapping[str, Any], sort: str) -> datetime | None:
        """Return when the first run of a filter, in an order, began."""
        body = {"flow_runs": dict(runs), "sort": sort, "limit": 1}
        found = _objects(await self._post("/flow_runs/filter", body))
        return _read_time(found[0].get("start_time")) if found else None

    async def _count_workers(self) -> tuple[int, int]:
        """Return how many workers are online, and how many are not any more."""
        pools = _objects(await self._post("/work_pools/filter", {"limit": MAX_POOLS}))
        names = [name for pool in pools if (name := as_text(pool.get("name")))]
        paths = [f"/work_pools/{quote(name, safe='')}/workers/filter" for name in names]
        answers = await asyncio.gather(*(self._post(path, {}) for path in paths))
        states = [worker.get("status") for answer in answers for worker in _objects(answer)]
        return states.count("ONLINE"), states.count("OFFLINE")


def _states(*types: str) -> dict[str, Any]:
    return {"state": {"type": {"any_": list(types)}}}


def _expected_before(at: datetime) -> dict[str, Any]:
    return {"expected_start_time": {"before_": at.isoformat()}}


def _objects(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise BadAnswer(PREFECT, "no list in place of one")
    return [as_object(entry) for entry in cast("list[object]", value)]


def _read_time(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(as_text(value))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
