"""An HTTP status has its name wherever the product or a bench means one.

From 400 on, a number that is a status is taken for one; 200, 300, 400 and 500, which are pages,
lengths and bounds as well, only where they are passed by position, or as a status, or compared with
one.
"""

import ast
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TypeGuard

import pytest

from deployments import ROOT

FOLDERS = ("aletheia", "flows", "tasks", "blocks", "deployments", "bench")
ROUND = {200, 300, 400, 500}
ODD = {status.value for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST} - ROUND


def is_number(node: ast.AST, numbers: set[int]) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value in numbers


def names_status(node: ast.AST | None) -> bool:
    name = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "arg", None)
    return isinstance(name, str) and name.split("_")[0] == "status"


def suspects(node: ast.AST) -> Iterator[ast.AST]:
    """The places right below a node where even a round number is a status."""
    match node:
        case ast.Call():
            yield from node.args
            yield from (given.value for given in node.keywords if names_status(given))
        case ast.Compare():
            if any(names_status(part) for part in (node.left, *node.comparators)):
                yield from (node.left, *node.comparators)
        case ast.arguments():
            positional = [*node.posonlyargs, *node.args][-len(node.defaults) or None :]
            pairs = [*zip(positional, node.defaults, strict=False)]
            pairs += [*zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            yield from (default for name, default in pairs if default and names_status(name))
        case _:
            pass


def bare_statuses(code: str) -> list[int]:
    """The lines on which a status is a bare number."""
    tree = ast.parse(code)
    found = {node.lineno for node in ast.walk(tree) if is_number(node, ODD)}
    round_ones = [node for parent in ast.walk(tree) for node in suspects(parent)]
    found |= {node.lineno for node in round_ones if is_number(node, ROUND)}
    return sorted(found)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_status_has_its_name(folder: str):
    for file in sorted((ROOT / folder).rglob("*.py")):
        assert bare_statuses(file.read_text()) == [], Path(file).relative_to(ROOT)


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
    ],
)
def test_a_bare_status_is_found(code: str):
    assert bare_statuses(code) == [1]


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
    ],
)
def test_any_other_number_is_not_taken_for_one(code: str):
    assert bare_statuses(code) == []
