"""An HTTP status has its name wherever the product or a bench means one.

From 400 on, a number that is a status is taken for one where it is passed by position, compared, or
listed as a key, in a set or as a case; 200, 300, 400 and 500, which are pages, lengths and bounds
as well, only as an argument of an error or an answer, as or beside a `status`, or in a set or case.
"""

import ast
import inspect
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias, TypeGuard

import pytest

from aletheia import errors
from deployments import ROOT

FOLDERS = ("aletheia", "flows", "tasks", "blocks", "deployments", "bench")
ROUND = {200, 300, 400, 500}
ODD = {status.value for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST} - ROUND
CLASSES = inspect.getmembers(errors, inspect.isclass)
ERRORS = {name for name, kind in CLASSES if issubclass(kind, Exception)}
TAKES_STATUS = {*ERRORS, "refuse", "answer", "HTTPStatus"}
"""Calls to which even a round number is a status."""

EXCEPTED = {
    "default_rng": "a seed",
    "range": "counts",
    "len": "a length",
    "shorten": "a length",
    "sleep": "seconds",
    "timedelta": "days and seconds",
}
"""Calls whose numbers are none, passed or compared, and what they are."""

Places: TypeAlias = Iterator[tuple[ast.AST | None, bool]]


def is_number(node: ast.AST, numbers: set[int]) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value in numbers


def name_of(node: ast.AST | None) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    name = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "arg", None)
    return str(name or "").lstrip("_")


def names_status(node: ast.AST | None) -> bool:
    return name_of(node).split("_")[0] == "status"


def places(node: ast.AST) -> Places:
    """Yield the places right below a node for a status, and whether a round number is one there."""
    match node:
        case ast.Call() if name_of(node) not in EXCEPTED:
            yield from ((given, name_of(node) in TAKES_STATUS) for given in node.args)
            yield from ((given.value, True) for given in node.keywords if names_status(given))
        case ast.Compare():
            parts = (node.left, *node.comparators)
            if not any(isinstance(part, ast.Call) and name_of(part) in EXCEPTED for part in parts):
                yield from ((part, any(map(names_status, parts))) for part in parts)
        case ast.Set():
            yield node, True
        case ast.Dict():
            yield from ((key, False) for key in node.keys)
        case ast.MatchValue():
            yield node.value, True
        case ast.arguments():
            positional = [*node.posonlyargs, *node.args][-len(node.defaults) or None :]
            pairs = [*zip(positional, node.defaults, strict=False)]
            pairs += [*zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            yield from ((default, True) for name, default in pairs if names_status(name))
        case ast.AnnAssign() if names_status(node.target):
            yield node.value, True
        case ast.Assign() if any(map(names_status, node.targets)):
            yield node.value, True
        case _:
            pass


def bare_statuses(code: str) -> list[int]:
    """The lines on which a status is a bare number."""
    found: set[int] = set()
    for parent in ast.walk(ast.parse(code)):
        for place, is_round in places(parent):
            listed = isinstance(place, ast.Tuple | ast.List | ast.Set)
            for node in place.elts if listed else filter(None, [place]):
                if is_number(node, ODD | ROUND if is_round else ODD):
                    found.add(node.lineno)
    return sorted(found)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_status_has_its_name(folder: str):
    for file in sorted((ROOT / folder).rglob("*.py")):
        name = Path(file).relative_to(ROOT)
        advice = "write http.HTTPStatus, or add the call to EXCEPTED with what its numbers are"
        assert bare_statuses(file.read_text()) == [], f"{name}: {advice}"


@pytest.mark.parametrize(
    "code",
    [
        "raise Refused('upstream', 400, 'no')",
        "frozenset(map(HTTPStatus, (401, 429)))",
        "CODES = {404: 'not_found'}",
        "answer(body, status=200)",
        "if answer.status == 200: ...",
        "if 500 <= status_code: ...",
        "def answer(body, status=200): ...",
        "def answer(body, *, reason='', status=200): ...",
        "HTTPStatus(503)",
        "aletheia.errors.Refused('upstream', 200)",
        "status in {200, 400}",
        "status_code not in (400, 500)",
        "frozenset({400, 500})",
        "if answer.code == 404: ...",
        "status = 200",
        "class Answer: status: int = 200",
    ],
)
def test_a_bare_status_is_found(code: str):
    assert bare_statuses(code) == [1]


def test_a_bare_status_is_found_as_a_case():
    assert bare_statuses("match status:\n case 400 | 404: ...\n case 500: ...") == [2, 3]


@pytest.mark.parametrize(
    "code",
    [
        "PAGE: Final = 500",
        "Field(default=500, ge=1)",
        "def newest(*, limit: int = 200): ...",
        "text[:200]",
        "STATUSES = {499: Unavailable}",
        "if len(text) > 400: ...",
        "answer(body, HTTPStatus.OK)",
        "range(500)",
        "Decimal(200)",
        "datetime(400, 1, 1)",
        "range(404)",
        "sleep(300)",
        "textwrap.shorten(text, 200)",
        "default_rng(404)",
        "timedelta(seconds=429)",
        "MAX = 511",
        "if len(text) > 429: ...",
    ],
)
def test_any_other_number_is_not_taken_for_one(code: str):
    assert bare_statuses(code) == []
