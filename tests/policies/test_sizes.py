"""A file of over 400 lines, or a class of over 300, is two things that were not told apart yet.

The lists of exceptions may only shrink.
"""

import ast
from pathlib import Path

import pytest

from deployments import ROOT

MAX_FILE_LINES = 400
MAX_CLASS_LINES = 300
MAX_LONG_FILES = 12
MAX_LONG_CLASSES = 4

LONG_FILES: set[str] = set()

LONG_CLASSES: set[str] = set()

FILES = [
    file
    for folder in ("aletheia", "flows", "tasks", "blocks", "deployments", "bench")
    for file in sorted((ROOT / folder).rglob("*.py"))
]


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def long_classes(file: Path) -> set[str]:
    return {
        f"{name_of(file)}:{node.name}"
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.ClassDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_CLASS_LINES
    }


def test_files_are_short():
    long = {name_of(file) for file in FILES if len(file.read_text().splitlines()) > MAX_FILE_LINES}
    assert long - LONG_FILES == set()
    assert LONG_FILES - long == set(), "these are short now: take them off the list"


def test_classes_are_short():
    long = {name for file in FILES for name in long_classes(file)}
    assert long - LONG_CLASSES == set()
    assert LONG_CLASSES - long == set(), "these are short now: take them off the list"


@pytest.mark.parametrize(
    ("exceptions", "limit"), [(LONG_FILES, MAX_LONG_FILES), (LONG_CLASSES, MAX_LONG_CLASSES)]
)
def test_there_are_few_exceptions(exceptions: set[str], limit: int):
    assert len(exceptions) <= limit
