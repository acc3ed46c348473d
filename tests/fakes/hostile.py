"""A server that answers with anything, and answers that are almost right, by the thousand."""

import copy
import json
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 10**18, 10**30, -(10**400), 1e308),
    *(float("nan"), float("inf"), float("-inf")),
    *("", " ", "0", "x", "\ud800", "a\udfffb", "\x00", "\u202e", "x" * 5000, "AAAA", "é" * 300),
    *([], {}, [[]], [{}], [None], {"": {}}, [0, [1]], {"message": ["x"]}, {"code": 404}),
    *("model 'x' not found", "input is too large", "9" * 400, "2026-13-45T99:99:99Z", "1e999"),
]
"""What comes in place of something else."""

STATUSES = [
    *[200] * 12,
    *(201, 204, 206, 299, 304, 400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 424, 425),
    *(429, 500, 502, 503, 504, 529, 599, 999),
]

HEADERS = [
    *[{}] * 6,
    *({"Retry-After": value} for value in ("nan", "-1", "1e400", "9" * 400, "soon", "٣")),
    {"Retry-After": "Wed, 99 Xxx 0000 00:00:00 GMT", "Date": "never"},
    {"retry-after-ms": "9" * 30},
    {"Location": "http://[", "Content-Type": "text/html; charset=no-such"},
]

BODIES = [
    *(b"", b" ", b"null", b"[]", b"{}", b'"x"', b"7", b"NaN", b"<html>no</html>", b"\xff\xfe\x00"),
    *(b"{", b'{"a":', b"[" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'"\\ud800"'),
    *(b'{"error": "\\ud800"}', b'{"error": {"message": "\\udfff", "code": [1]}}'),
    *(b"[" * 900 + b"]" * 900, b'{"x": ' + b"1" * 5000 + b"}", b"\xef\xbb\xbf{}"),
]


@dataclass(slots=True)
class Hostile:
    """An answer, and the server that gives it to whatever is asked.

    Attributes:
        url: root of the server.
        status: of the next answers.
        body: likewise.
        headers: likewise.
    """

    url: str = ""
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Read a request and answer it."""
        await request.read()
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@asynccontextmanager
async def serve_hostile() -> AsyncGenerator[Hostile]:
    """Serve whatever is set."""
    hostile = Hostile()
    server = web.Server(hostile.answer, access_log=None)
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hostile.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield hostile
    finally:
        await runner.cleanup()


def spoil(hostile: Hostile, good: list[Any], seed: int) -> Iterator[int]:
    """Set one bad answer after the other; each is made from one of the good ones, or from none.

    Args:
        hostile: the server.
        good: right answers, as JSON values.
        seed: of the choice.
    """
    choice = random.Random(seed)
    for number in range(3000):
        hostile.status = choice.choice(STATUSES)
        hostile.headers = dict(choice.choice(HEADERS))
        if choice.random() < 0.15:
            hostile.body = choice.choice(BODIES)
        else:
            body = json.dumps(_mutate(copy.deepcopy(choice.choice(good)), choice)).encode()
            if choice.random() < 0.1:
                body = body[: choice.randrange(len(body) + 1)]
            hostile.body = body
        yield number


def _mutate(tree: Any, choice: random.Random) -> Any:
    for _ in range(choice.choice((1, 1, 1, 2, 3))):
        tree = _mutate_once(tree, choice)
    return tree


def _mutate_once(tree: Any, choice: random.Random) -> Any:
    """Replace, drop, repeat or wrap one value somewhere in a tree."""
    places = list(_places_in(tree))
    if not places or choice.random() < 0.05:
        return _wrapped(tree, choice)
    parent, key = choice.choice(places)
    match choice.randrange(6):
        case 0:
            del parent[key]
        case 1:
            parent[key] = _wrapped(parent[key], choice)
        case 2 if isinstance(parent, list):
            siblings = cast("list[Any]", parent)
            siblings.insert(choice.randrange(len(siblings) + 1), copy.deepcopy(siblings[key]))
        case 3 if isinstance(parent, dict):
            parent[choice.choice(("error", "code", "type", "message", "status", "detail"))] = (
                copy.deepcopy(choice.choice(VALUES))
            )
        case _:
            parent[key] = copy.deepcopy(choice.choice(VALUES))
    return tree


def _wrapped(value: Any, choice: random.Random) -> Any:
    depth = choice.choice((1, 1, 2, 300))
    is_list = choice.random() < 0.5
    for _ in range(depth):
        value = [value] if is_list else {"error": value}
    return value


def _places_in(tree: Any) -> Iterator[tuple[Any, Any]]:
    """List every container in a tree with each of its keys."""
    keys: list[Any] = []
    if isinstance(tree, dict):
        keys = list(cast("dict[Any, Any]", tree))
    elif isinstance(tree, list):
        keys = list(range(len(cast("list[Any]", tree))))
    for key in keys:
        yield tree, key
        yield from _places_in(tree[key])
