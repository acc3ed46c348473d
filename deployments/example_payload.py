"""The bundled example of an application on Payload CMS: its departments, for demos and tests.

    python -m deployments.example_payload --port 0

listens on 127.0.0.1, prints one JSON line with its `url` when it does, and ends on SIGTERM or
SIGINT. It answers `GET /api/departments` as Payload 3 does, with `where[FIELD][equals]`, `sort`,
`limit`, `page` and `depth`:

    https://payloadcms.com/docs/rest-api/overview  https://payloadcms.com/docs/queries/pagination

Its company, which does not exist, rents out electric cargo bikes.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
import uvloop
from aiohttp import hdrs, web

from deployments.loopback import LoopbackServer, answer, read_secret, serve

COLLECTION: Final = "users"
"""Slug of the collection whose documents may have API keys."""

MAX_LIMIT: Final = 100
"""Most documents of a page, whatever `limit` says."""

DEFAULTS: Final[Mapping[str, str]] = {"limit": "10", "page": "1", "depth": "2"}
"""Numbers that a query may leave out. There is nothing that `depth` could reach here."""

_PATH: Final = "/api/departments"
_OPERATOR: Final = "][equals]"


class ExamplePayload(LoopbackServer):
    """The departments of an application, read through Payload's REST API.

    It takes no parameter that it does not understand, so that a client's typing error shows.

    Args:
        documents: the collection, in the order of creation.
        authorization: `Authorization` header that every request must carry.

    Attributes:
        documents: the same.
        authorization: the same.
        max_limit: most documents of a page.
        defaults: what a query leaves out.
    """

    def __init__(
        self, documents: Sequence[object] = (), *, authorization: str | None = None
    ) -> None:
        super().__init__()
        self.documents: list[Any] = list(documents)
        self.authorization = authorization
        self.max_limit = MAX_LIMIT
        self.defaults = DEFAULTS

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if (request.method, request.path) != ("GET", _PATH):
            return _refuse(404, f'Route not found "{request.path}"')
        if self.authorization not in (None, request.headers.get(hdrs.AUTHORIZATION)):
            return _refuse(403, "You are not allowed to perform this action.")
        query = request.rel_url.query
        conditions = {name: value for name, value in query.items() if name.startswith("where")}
        numbers = {name: query.get(name, self.defaults.get(name, "")) for name in DEFAULTS}
        if strangers := sorted(set(query) - {*conditions, *numbers, "sort"}):
            return _refuse(400, f"nothing is known of {', '.join(strangers)}")
        for name, value in numbers.items():
            if not (value.isascii() and value.isdigit()) or (name == "page" and not int(value)):
                return _refuse(400, f"{name} must be a number, not {value}")
        wanted: dict[str, str] = {}
        for name, value in conditions.items():
            if not (name.startswith("where[") and name.endswith(_OPERATOR)):
                return _refuse(400, f"The following path cannot be queried: {name}")
            wanted[name.removeprefix("where[").removesuffix(_OPERATOR)] = value
        found = self.select(self.documents, wanted)
        if field := query.get("sort"):
            found = self.sort(found, field)
        return answer(orjson.dumps(self.turn(found, int(numbers["limit"]), int(numbers["page"]))))

    def select(self, documents: Sequence[Any], wanted: Mapping[str, str]) -> list[Any]:
        """Pick the documents whose fields have these values, as they are written in a query."""
        return [
            one
            for one in documents
            if all(_write(_get(one, field)) == value for field, value in wanted.items())
        ]

    def sort(self, documents: Sequence[Any], field: str) -> list[Any]:
        """Order documents by a field, with `-` before it the other way round."""
        name, is_descending = field.removeprefix("-"), field.startswith("-")
        return sorted(documents, key=lambda one: _rank(_get(one, name)), reverse=is_descending)

    def turn(self, documents: Sequence[Any], limit: int, page: int) -> dict[str, Any]:
        """Show one page of documents; `limit` 0 asks for as many as there may be on one."""
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
    """Write a value as it stands in a query."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _rank(value: object) -> tuple[int, Any]:
    """Order values as MongoDB does: what is missing comes first, then numbers, then texts."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 1, value
    return (2, value) if isinstance(value, str) else (0, 0)


def _refuse(status: int, message: str) -> web.Response:
    """Answer with an error, in the form that Payload gives it."""
    return answer(orjson.dumps({"errors": [{"message": message}]}), status)


@dataclass(frozen=True, slots=True)
class ExampleDepartment:
    """A department of the example, and what a gather run should make of it.

    Attributes:
        document: as Payload lists it.
        is_listed: whether it is active and takes part.
        is_good: whether it can be used.
    """

    document: dict[str, Any]
    is_listed: bool = True
    is_good: bool = True

    @property
    def slug(self) -> str:
        """Its name in addresses and events."""
        return cast("str", self.document["slug"])


def example_departments() -> list[ExampleDepartment]:
    """Make the departments, in the order of their numbers.

    Thresholds are set for what the mock writes: the first is reached at once, the next after a
    few batches, the third never, and the fourth would take more iterations than are left.
    """
    support = _make(
        10,
        "support",
        "Rider support",
        "Answers calls and chats of riders, handles refunds and damage claims, and collects "
        "feedback after each rental.",
        threshold=50,
    )
    onboarding = _make(
        20,
        "onboarding",
        "Onboarding",
        "Prepares first days for mechanics and dispatchers: workshop training, tool handling, "
        "safety briefings and a mentor for the first month.",
        threshold=75,
    )
    safety = _make(
        31,
        "safety",
        "Bike safety",
        "Checks brakes and batteries, follows up accidents, and plans recalls with suppliers.",
        threshold=97,
    )
    charging = _make(
        40,
        "charging",
        "Charging stations",
        "Runs charging stations and keeps contracts with landlords and the grid.",
        threshold=850,
    )
    dispatch = _make(
        50,
        "dispatch",
        "Dispatch",
        "Plans van routes and shifts, and tracks lost bikes between stations.",
        threshold=90,
    )
    scooters = _make(
        60,
        "scooters",
        "Scooter rental",
        "Rented out electric scooters until last spring.",
        threshold=80,
    )
    return [
        ExampleDepartment(support),
        ExampleDepartment(onboarding),
        ExampleDepartment(safety),
        ExampleDepartment(charging, is_good=False),
        ExampleDepartment(dispatch),
        ExampleDepartment({**scooters, "isActive": False}, is_listed=False),
    ]


EXAMPLE_TEXTS: Final = (
    (
        "Sort new cases of rental into three piles, urgent, planned and wrong address, as they "
        "come. What cannot be settled in the room goes to an experienced specialist with two "
        "options and a recommendation. The result is good when an experienced specialist can name "
        "the current state without looking it up."
    ),
    (
        "Reserve the hour after opening for damage claims and keep meetings out of it! The wording "
        "is tested on somebody who has never heard of feedback. A short survey on the first "
        "working day of the month asks for one number and for one sentence."
    ),
    (
        "Watch how old the oldest open case of workshop training is; no other number shows neglect "
        "so early. A trainee demonstrates it to the rest of the team with a real example. After 30 "
        "days there should be a fifth fewer open cases."
    ),
    (
        "Riders pay a deposit of 200 euros for a bike with two batteries; it is returned when both "
        "have been checked."
    ),
    "The workshop in the old tram depot is open from seven to seven, on Sundays by appointment.",
)
"""What people of the company have written into the collection that items are saved in.

The mock makes the points of the first three as well: the first word for word, the second but for
words that say nothing, the third in other words.
"""


def _make(
    number: int, slug: str, name: str, description: str, *, threshold: float
) -> dict[str, Any]:
    return {
        "id": f"{0x66E0_0000_0000_0000_0000_0000 + number:024x}",
        "slug": slug,
        "name": name,
        "description": description,
        "codeDepNumber": number,
        "gatherCheck": True,
        "isActive": True,
        "defaultModel": None,
        "coordinationSettings": {"minQualityThreshold": threshold},
        "createdAt": "2026-01-05T09:00:00.000Z",
        "updatedAt": "2026-01-05T09:00:00.000Z",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the example application as a process of its own."""
    parser = argparse.ArgumentParser(prog="example_payload", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--api-key",
        metavar="VARIABLE",
        help=f"ask for the API key of a document in {COLLECTION!r}; it is read from this "
        "environment variable, or from the first line of standard input where this is -",
    )
    options = parser.parse_args(arguments)
    authorization = None
    if options.api_key is not None:
        key = read_secret("--api-key", options.api_key)
        authorization = f"{COLLECTION} API-Key {key}"
    documents = [one.document for one in example_departments()]
    uvloop.run(serve(ExamplePayload(documents, authorization=authorization), options.port))


if __name__ == "__main__":
    main()
