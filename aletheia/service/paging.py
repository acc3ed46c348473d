"""Lists that are read page by page: each page says where the next one begins.

A cursor is where a page ended, in the order of the list, so that what is added or goes meanwhile
neither repeats nor hides anything else.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias, cast

import orjson
from fastapi import Query
from pydantic import BaseModel, Field

from aletheia.documents import Document, Documents
from aletheia.service.refusals import ServiceError

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
MAX_CURSOR_CHARS: Final = 2000
MAX_TEXT_CHARS: Final = 700
MAX_NUMBER: Final = 2**53
"""Largest number in a cursor: those of JSON are exact up to here."""

Limit: TypeAlias = Annotated[
    int, Query(ge=1, le=MAX_LIMIT, description="Entries of the page, at most.")
]
Cursor: TypeAlias = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR_CHARS,
        description="`next_cursor` of the page before; the first page without one.",
    ),
]


class Page(BaseModel):
    """A page of a list."""

    next_cursor: str | None = Field(
        description="Where the next page begins; null if this is the last one."
    )


@dataclass(frozen=True, slots=True)
class Order:
    """By which value a list is sorted, then by id; every document of the list has it."""

    name: str
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the value that the list is sorted by, and the id."""

    value: str | float
    id: str

    def write(self) -> str:
        """Return it as a cursor."""
        text = base64.urlsafe_b64encode(orjson.dumps([self.value, self.id])).decode()
        return text.rstrip("=")


def read_cursor(cursor: str) -> Place:
    """Return the place that a cursor names, or raise 422 `invalid_cursor`."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        read: object = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(read, list):
            raise TypeError("no list")
        value, id_ = cast("list[object]", read)
    except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError):
        raise _invalid() from None
    if not _is_text(id_) or not (_is_text(value) or _is_number(value)):
        raise _invalid()
    return Place(cast("str | float", value), cast("str", id_))


async def read_page(
    documents: Documents,
    collection: str,
    where: Mapping[str, Any],
    order: Order,
    *,
    limit: int,
    cursor: str | None,
    with_payload: bool = False,
) -> tuple[list[Document], str | None]:
    """Return a page of the documents for which `where` holds, and the cursor of the next one."""

    async def find(condition: Mapping[str, Any], sort: str, count: int) -> list[Document]:
        return await documents.find(
            collection,
            condition,
            sort=sort,
            descending=order.descending,
            limit=count,
            with_payload=with_payload,
        )

    wanted = limit + 1
    if cursor is None:
        found = await find(where, order.name, wanted)
    else:
        place, beyond = read_cursor(cursor), "$lt" if order.descending else "$gt"
        same = {**where, order.name: place.value, "_id": {beyond: place.id}}
        found = await find(same, "_id", wanted)
        if len(found) < wanted:
            further = {**where, order.name: {beyond: place.value}}
            found += await find(further, order.name, wanted - len(found))
    page = found[:limit]
    is_last = len(found) <= limit
    return page, None if is_last else Place(page[-1][order.name], page[-1]["_id"]).write()


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_CHARS


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and abs(value) <= MAX_NUMBER


def _invalid() -> ServiceError:
    message = "the cursor is none of ours; begin with the first page"
    return ServiceError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_cursor", message)
