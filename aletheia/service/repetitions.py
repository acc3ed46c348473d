"""What repeats what in a project: items that were dropped, and items that may have to be.

Each is shown with both texts, so that a person can decide: `undo` has a dropped item back
(`aletheia.service.actions`), `drop` takes one away that was kept.
"""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

import orjson
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from aletheia.brain.wire import ProjectId
from aletheia.documents import Document, Documents
from aletheia.items.content import SavedItem, read_document
from aletheia.items.decisions import DECISIONS, ID_DIGITS, ProjectDecisions, name_document
from aletheia.service.actions import IdempotencyKey, RunStarter, StartedRun
from aletheia.service.authentication import caller_of
from aletheia.service.paging import DEFAULT_LIMIT, Cursor, Limit, Order, Page, read_page
from aletheia.service.parts import Part
from aletheia.service.ports import OpenContent
from aletheia.service.refusals import NOT_FOUND_MEANING, ServiceError, describe_refusals
from aletheia.service.roles import OPERATORS, READERS
from aletheia.service.token_routes import TokenRoutes
from aletheia.store.clock import microseconds, moment

DROP: Final = "drop_repetition/drop_repetition"

_PREFIX: Final = "/api/v1/projects/{project_id}"

DecisionId: TypeAlias = Annotated[
    str, Path(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$", description="Id of the decision.")
]


class RepetitionRow(BaseModel):
    """An item, and what it repeats or may repeat."""

    id: str = Field(description="Id of the decision, to undo or to drop it by.")
    department: str = Field(description="Slug of the department.")
    department_name: str = Field(description="Name of the department.")
    iteration: int = Field(description="The iteration, from 1 in its department.")
    at: datetime = Field(description="When it was decided, in UTC.")
    tier: str = Field(description="What decided; `operator`: a person dropped it.")
    score: float | None = Field(description="Calibrated similarity of the two, 0 to 1.")
    reason: str = Field(description="Why, in a sentence.")
    item_id: str = Field(description="The item.")
    content: str | None = Field(description="Its text; null where it is not saved any more.")
    match_id: str | None = Field(description="What it repeats, or may repeat.")
    match_content: str | None = Field(description="Its text; null where it is not saved any more.")
    undone_by: str | None = Field(description="Who undid it; null if nobody did.")


class RepetitionsPage(Page):
    """Repetitions, newest first; a page may hold fewer than were asked for."""

    repetitions: list[RepetitionRow] = Field(description="The repetitions.")


def make_repetitions_routers(
    routes: TokenRoutes, store: Part[Documents], open_content: OpenContent, starter: RunStarter
) -> list[APIRouter]:
    """Build the routes that repetitions are read and dropped by."""
    return [
        _make_reads(routes, store, open_content),
        _make_drop(routes, store, starter),
    ]


def _make_reads(
    routes: TokenRoutes, store: Part[Documents], open_content: OpenContent
) -> APIRouter:
    router = routes.make_router("projects", READERS)

    @router.get(f"{_PREFIX}/repetitions")
    async def list_repetitions(
        project_id: ProjectId,
        is_possible: Annotated[
            bool,
            Query(description="Items that were kept but may repeat something, not dropped ones."),
        ] = False,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> RepetitionsPage:
        """Return what was dropped as a repetition of what, or may have to be, with both texts."""
        documents = await store.get()
        where: dict[str, Any] = {"project_id": project_id, "is_kept": is_possible}
        where |= {"is_possible": True} if is_possible else {}
        found, following = await read_page(
            documents,
            DECISIONS,
            where,
            Order("order"),
            limit=limit,
            cursor=cursor,
            with_payload=not is_possible,
        )
        texts = await _read_texts(open_content, project_id, found)
        rows = [_to_row(document, texts) for document in found]
        if is_possible:
            distinct = await ProjectDecisions(documents, project_id).distinct_pairs()
            rows = [row for row in rows if _is_open(row) and _pair_of(row) not in distinct]
        return RepetitionsPage(repetitions=rows, next_cursor=following)

    return router


def _make_drop(routes: TokenRoutes, store: Part[Documents], starter: RunStarter) -> APIRouter:
    router = routes.make_router("actions", OPERATORS)
    conflict = "`not_possible`: its item is not kept as a possible repetition."

    @router.post(
        f"{_PREFIX}/decisions/{{decision_id}}/drop",
        status_code=HTTPStatus.ACCEPTED,
        responses=describe_refusals({**NOT_FOUND_MEANING, HTTPStatus.CONFLICT: conflict}),
    )
    async def drop_repetition(
        request: Request,
        project_id: ProjectId,
        decision_id: DecisionId,
        idempotency_key: IdempotencyKey = None,
    ) -> StartedRun:
        """Start a run that drops an item which was kept and repeats another; `undo` has it back."""
        name = name_document(project_id, decision_id)
        found = (await (await store.get()).get(DECISIONS, [name])).get(name)
        if found is None:
            raise ServiceError(HTTPStatus.NOT_FOUND, "not_found", "there is no such decision")
        if not found.get("is_possible") or found["undone_at"] is not None:
            message = "its item is not kept as a possible repetition"
            raise ServiceError(HTTPStatus.CONFLICT, "not_possible", message)
        caller = caller_of(request)
        wanted = {"project_id": project_id, "pair_id": decision_id, "user_id": caller.subject}
        return await starter.start(caller, DROP, wanted, idempotency_key)

    return router


async def _read_texts(
    open_content: OpenContent, project_id: str, found: Sequence[Document]
) -> dict[str, str]:
    """Return the texts of the items that decisions are about, as far as they are saved."""
    ids = {str(row[name]) for row in found for name in ("item_id", "match_id") if row[name]}
    if not ids:
        return {}
    async with open_content(project_id) as content:
        items = await content.read_items(sorted(ids))
    return {item_id: item.content for item_id, item in items.items()}


def _to_row(found: Document, texts: dict[str, str]) -> RepetitionRow:
    dropped = _read_dropped(found)
    values: dict[str, Any] = {
        **{name: found.get(name) for name in RepetitionRow.model_fields},
        "id": found["short"],
        "at": moment(microseconds(found["at"])),
        "content": texts.get(found["item_id"]) if dropped is None else dropped.content,
        "match_content": texts.get(found["match_id"] or ""),
    }
    return RepetitionRow(**values)


def _read_dropped(found: Document) -> SavedItem | None:
    if found.get("payload") is None:
        return None
    return read_document(found["item_id"], orjson.loads(found["payload"]))


def _is_open(row: RepetitionRow) -> bool:
    """Return whether both items of a possible repetition are there still."""
    return row.content is not None and row.match_content is not None


def _pair_of(row: RepetitionRow) -> frozenset[str]:
    return frozenset({row.item_id, row.match_id or ""})
