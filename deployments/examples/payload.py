"""The example application: the departments of Payload CMS 3, for demo, benches and tests.

https://payloadcms.com/docs/rest-api/overview https://payloadcms.com/docs/queries/pagination
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import orjson
from aiohttp import web

from deployments.examples.departments import EXAMPLE_DEPARTMENTS
from deployments.examples.server import LoopbackServer, answer, main

MAX_LIMIT: Final = 100
"""Documents of a page, whatever `limit` says."""

DEFAULTS: Final[Mapping[str, str]] = {"limit": "10", "page": "1", "depth": "2"}
"""Numbers that a query may leave out; `depth` changes nothing here."""

_PATH: Final = "/api/departments"
_CONDITION: Final = re.compile(r"where\[(.+)\]\[equals\]")


class ExamplePayload(LoopbackServer):
    """The departments of an application, read through Payload's REST API.

    `documents` is the collection in the order of creation, `defaults` what a query may leave out.
    """

    def __init__(self, documents: Sequence[object] = ()) -> None:
        super().__init__()
        self.documents: list[Any] = list(documents)
        self.max_limit = MAX_LIMIT
        self.defaults = DEFAULTS

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if (request.method, request.path) != ("GET", _PATH):
            return _refuse(HTTPStatus.NOT_FOUND, f'Route not found "{request.path}"')
        wanted: dict[str, str] = {}
        numbers = dict.fromkeys(DEFAULTS, "") | dict(self.defaults)
        field = ""
        for name, value in request.rel_url.query.items():
            if condition := _CONDITION.fullmatch(name):
                wanted[condition[1]] = value
            elif name in DEFAULTS:
                numbers[name] = value
            elif name == "sort":
                field = value
            else:
                message = f"The following path cannot be queried: {name}"
                return _refuse(HTTPStatus.BAD_REQUEST, message)
        for name, value in numbers.items():
            if not (value.isascii() and value.isdigit()) or (name == "page" and not int(value)):
                return _refuse(HTTPStatus.BAD_REQUEST, f"{name} must be a number, not {value}")
        found = self.select(self.documents, wanted)
        if field:
            found = self.sort(found, field)
        return answer(self.turn(found, int(numbers["limit"]), int(numbers["page"])))

    def select(self, documents: Sequence[Any], wanted: Mapping[str, str]) -> list[Any]:
        """Return the documents whose fields have these values, written as in a query."""
        return [
            document
            for document in documents
            if all(_write(_get(document, field)) == value for field, value in wanted.items())
        ]

    def sort(self, documents: Sequence[Any], field: str) -> list[Any]:
        """Return documents ordered by a field; `-` before it reverses the order."""
        name, is_descending = field.removeprefix("-"), field.startswith("-")
        return sorted(documents, key=lambda it: _rank(_get(it, name)), reverse=is_descending)

    def turn(self, documents: Sequence[Any], limit: int, page: int) -> dict[str, Any]:
        """Return one page of documents; `limit` 0 asks for the longest page."""
        limit = min(limit or self.max_limit, self.max_limit)
        pages = max(1, -(-len(documents) // limit))
        return {
            "docs": documents[(page - 1) * limit : page * limit],
            "totalDocs": len(documents),
            "limit": limit,
            "totalPages": pages,
            "page": page,
            "pagingCounter": (page - 1) * limit + 1,
            "hasPrevPage": page > 1,
            "hasNextPage": page < pages,
            "prevPage": page - 1 if page > 1 else None,
            "nextPage": page + 1 if page < pages else None,
        }


def _get(document: Any, field: str) -> Any:
    return cast("dict[str, Any]", document).get(field) if isinstance(document, dict) else None


def _write(value: object) -> str:
    """Return a value as it is written in a query."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _rank(value: object) -> tuple[int, Any]:
    """Return a key that orders values as MongoDB does: missing ones, numbers, texts."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 1, value
    return (2, value) if isinstance(value, str) else (0, 0)


def _refuse(status: int, message: str) -> web.Response:
    """Return an error in the form of Payload."""
    return answer({"errors": [{"message": message}]}, status)


if __name__ == "__main__":
    main(lambda _: ExamplePayload([example.document for example in EXAMPLE_DEPARTMENTS]))
