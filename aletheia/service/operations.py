"""What operators read: tasks, dead letters, workers, usage (SPEC §6, Reads)."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field

from aletheia.brain.wire import ProjectId
from aletheia.documents import Document, Documents
from aletheia.intake.rows import ROWS
from aletheia.intake.workers import Workers
from aletheia.llm.prices import usd_of
from aletheia.llm.usage_days import DIMENSIONS, Dimension, UsageGroup, read_usage
from aletheia.service.paging import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Order,
    Page,
    Place,
    read_cursor,
    read_page,
)
from aletheia.service.parts import Part
from aletheia.service.ports import Orchestrator, SeenWorker
from aletheia.service.refusals import ServiceError
from aletheia.service.roles import READERS
from aletheia.service.token_routes import TokenRoutes
from aletheia.store.clock import SYSTEM_CLOCK, microseconds, moment

DEFAULT_DAYS: Final = 30

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

_SEPARATOR: Final = "\x1f"
"""Between the values of a group in a cursor; no value has one."""


class DeadLetterRow(BaseModel):
    """A task that failed for good."""

    id: str = Field(description="Id of the task.")
    type: str = Field(description="Its type; empty where none could be read.")
    code: str = Field(description="Why it failed.")
    message: str = Field(description="The same in a sentence.")
    dead_at: datetime = Field(description="Since when it is a dead letter, in UTC.")
    attempts: int = Field(description="How often it was computed.")
    replay_refused: dict[str, Any] | None = Field(
        description="Why its last replay changed nothing: what the upstream said or, without a "
        "status, what is still wrong with the task; null where nothing stopped it."
    )


class DeadLettersPage(Page):
    """Dead letters, newest first."""

    dead_letters: list[DeadLetterRow] = Field(description="The dead letters.")


class WorkerRow(BaseModel):
    """A worker that executes runs."""

    name: str = Field(description="Its name, unique in its pool.")
    pool: str = Field(description="The work pool that it takes runs from.")
    is_online: bool = Field(description="Whether it was heard of lately.")
    seen_at: datetime | None = Field(description="When it was heard of last, in UTC.")


class LaneWorkerRow(BaseModel):
    """A run that computes tasks: a poller, or a worker of a lane."""

    id: str = Field(description="Host, process and run.")
    lane: str = Field(description="Its lane; `intake` of a poller.", examples=["media"])
    types: list[str] = Field(description="The task types that it can compute.")
    state: str = Field(
        description="`idle`, `working`, `ended`, or `lost`: it did not end, and is silent."
    )
    tasks: list[str] = Field(description="Ids of tasks it works on, the first ones.")
    succeeded: int = Field(description="Tasks it reported as succeeded.")
    failed: int = Field(description="Tasks it reported as failed.")
    since: datetime = Field(description="When it began, in UTC.")
    seen_at: datetime = Field(description="Its last heartbeat, in UTC.")


class WorkersPage(Page):
    """Workers, by pool and name, and what computes tasks."""

    workers: list[WorkerRow] = Field(description="The workers that execute runs.")
    lane_workers: list[LaneWorkerRow] = Field(
        description="The runs that compute tasks, or did during the last day, the one heard of "
        "last first; on the first page only."
    )


class UsageRow(BaseModel):
    """What was used by some of the dimensions; the others are null."""

    day: str | None = Field(description="UTC day, such as `2026-11-21`.")
    project_id: str | None = Field(description="Project; empty for what belongs to none.")
    department: str | None = Field(description="Slug of the department; empty likewise.")
    provider: str | None = Field(description="Provider.")
    model: str | None = Field(description="Model.")
    kind: str | None = Field(description="`chat` or `embedding`.")
    calls: int = Field(description="Settled calls.")
    tokens_in: int = Field(description="Tokens in.")
    tokens_out: int = Field(description="Tokens out.")
    usd: str = Field(description="Estimated cost, USD, as a decimal number.")


class UsagePage(Page):
    """Usage, by the values of the dimensions in their order."""

    usage: list[UsageRow] = Field(description="The groups.")


def _check_day(value: object) -> object:
    """Check that a day is written as one: a number would be taken for Unix time."""
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise ValueError("a day is written as 2026-11-21")
    return value


Day: TypeAlias = Annotated[
    date | None,
    BeforeValidator(_check_day),
    Query(description="UTC day, included; by default the last 30 days."),
]


def make_operations_router(
    routes: TokenRoutes, store: Part[Documents], orchestrator: Part[Orchestrator]
) -> APIRouter:
    """Build the routes that operators read by."""
    router = routes.make_router("operations", READERS)

    @router.get("/api/v1/dead-letters")
    async def list_dead_letters(
        code: Annotated[
            str | None, Query(max_length=100, description="Only those with this code.")
        ] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> DeadLettersPage:
        """Return tasks that failed for good, newest first."""
        where: dict[str, Any] = {"dead_code": {"$gt": ""} if code is None else code}
        found, following = await read_page(
            await store.get(), ROWS, where, Order("dead_at"), limit=limit, cursor=cursor
        )
        return DeadLettersPage(
            dead_letters=list(map(_to_dead_letter, found)), next_cursor=following
        )

    @router.get("/api/v1/workers")
    async def list_workers(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> WorkersPage:
        """Return the workers that Prefect has heard of, and the runs that compute tasks."""
        computing = [] if cursor else await Workers(await store.get()).newest()
        seen = await (await orchestrator.get()).workers()
        known = {_SEPARATOR.join((worker.pool, worker.name)): worker for worker in seen}
        names, following = _cut(sorted(known), limit, cursor)
        return WorkersPage(
            workers=[_to_worker(known[name]) for name in names],
            lane_workers=[LaneWorkerRow(**worker.model_dump()) for worker in computing],
            next_cursor=following,
        )

    @router.get("/api/v1/usage")
    async def read_usage_groups(
        *,
        by: Annotated[
            list[Dimension],
            Query(max_length=len(DIMENSIONS), description="Dimensions of a group, in their order."),
        ] = ["day", "project_id", "department", "provider"],  # noqa: B006 - FastAPI copies it
        first_day: Day = None,
        last_day: Day = None,
        project_id: Annotated[
            ProjectId | None, Query(description="Only that of this project.")
        ] = None,
        provider: Annotated[
            str | None, Query(max_length=50, description="Only that of this provider.")
        ] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> UsagePage:
        """Return what calls to models used, and their estimated cost, by some dimensions."""
        dimensions = list(dict.fromkeys(by))
        where = {"project_id": project_id, "provider": provider}
        first, last = _days(first_day, last_day)
        try:
            groups = await read_usage(
                await store.get(),
                dimensions,
                first_day=first,
                last_day=last,
                where={name: value for name, value in where.items() if value is not None},
            )
        except ValueError as error:
            message = f"ask for fewer days: {error}"
            raise ServiceError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", message
            ) from None
        known = {_SEPARATOR.join(group.key): group for group in groups}
        names, following = _cut(sorted(known), limit, cursor)
        usage = [_to_usage(known[name], dimensions) for name in names]
        return UsagePage(usage=usage, next_cursor=following)

    return router


def _cut(names: Sequence[str], limit: int, cursor: str | None) -> tuple[list[str], str | None]:
    """Return a page of sorted names, and the cursor of the next one."""
    after = None if cursor is None else read_cursor(cursor).id
    left = [name for name in names if after is None or name > after]
    page = left[:limit]
    return page, Place("", page[-1]).write() if len(left) > limit else None


def _days(first: date | None, last: date | None) -> tuple[str, str]:
    """Return the days that are meant, as they are stored."""
    today = datetime.fromtimestamp(SYSTEM_CLOCK.unix_s(), UTC).date()
    last = last or today
    if first is None:
        first = last - timedelta(days=min(DEFAULT_DAYS - 1, (last - date.min).days))
    return first.isoformat(), last.isoformat()


def _to_dead_letter(row: Document) -> DeadLetterRow:
    return DeadLetterRow(
        id=row["task_id"],
        type=row.get("type") or "",
        code=row["dead_code"],
        message=row.get("dead_message") or "",
        dead_at=moment(microseconds(row["dead_at"])),
        attempts=int(row.get("attempts") or 0),
        replay_refused=row.get("replay_refused"),
    )


def _to_worker(worker: SeenWorker) -> WorkerRow:
    return WorkerRow(
        name=worker.name, pool=worker.pool, is_online=worker.is_online, seen_at=worker.seen_at
    )


def _to_usage(group: UsageGroup, dimensions: Sequence[Dimension]) -> UsageRow:
    values: dict[str, Any] = {
        **dict.fromkeys(DIMENSIONS),
        **dict(zip(dimensions, group.key, strict=True)),
    }
    return UsageRow(
        **values,
        calls=group.calls,
        tokens_in=group.tokens_in,
        tokens_out=group.tokens_out,
        usd=f"{Decimal(usd_of(group.nanousd)):f}",
    )
