"""What a reader stumbles over is counted, and the numbers may only fall."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from deployments import ROOT

MAX_LOOPS_OVER_ONE = 127
"""Lines with `for one in` or `lambda one`: a loop variable is named for what it holds."""

MAX_VAGUE_OPENERS = 90
"""Docstrings that begin with Say, Tell, Give, Have, Let or Put instead of Return, Check, Send."""

MAX_BARE_SUPPRESSIONS = 25
"""`noqa` and `type: ignore` without their rule, or without a reason behind it."""

MAX_GLOBALS = 0

PRODUCT = ("aletheia", "flows", "tasks", "blocks", "deployments")
FOLDERS = (*PRODUCT, "bench", "tests")

GLOBAL = re.compile(r"^\s*global\s")
LOOP_OVER_ONE = re.compile(r"\bfor one in\b|\blambda one\b")
SUPPRESSION = re.compile(r"#\s*(?:noqa|type:\s*ignore)\b")
REASONED = re.compile(
    r"#\s*(?:noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|type:\s*ignore\[[\w, -]+\])\s+- \S+"
)
VAGUE_OPENER = re.compile(r"(Say|Tell|Give|Have|Let|Put)\b")


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def lines_like(pattern: re.Pattern[str], *folders: str) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in python_files(*folders)
        if file != Path(__file__)
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]


def vague_docstrings() -> list[str]:
    return [
        f"{file.relative_to(ROOT)}: {text.splitlines()[0]}"
        for file in python_files(*PRODUCT)
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
        and (text := ast.get_docstring(node))
        and VAGUE_OPENER.match(text)
    ]


def test_no_value_passes_through_a_global():
    assert len(found := lines_like(GLOBAL, *PRODUCT, "bench")) <= MAX_GLOBALS, found


def test_every_suppression_names_its_rule_and_its_reason():
    # A file-wide `ruff: noqa: RULE` stands below a comment that explains it.
    bare = [
        line
        for line in lines_like(SUPPRESSION, *FOLDERS)
        if not REASONED.search(line) and "# ruff: noqa: " not in line
    ]
    assert len(bare) <= MAX_BARE_SUPPRESSIONS, bare


def test_loop_variables_are_named_for_what_they_hold():
    assert len(found := lines_like(LOOP_OVER_ONE, *PRODUCT)) <= MAX_LOOPS_OVER_ONE, found


def test_docstrings_begin_with_what_is_done():
    assert len(found := vague_docstrings()) <= MAX_VAGUE_OPENERS, found
