"""What a reader stumbles over: names and openings that say nothing, rules broken without reason."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from deployments import ROOT

PRODUCT = ("aletheia", "flows", "tasks", "blocks", "deployments")
FOLDERS = (*PRODUCT, "bench", "tests")

GLOBAL = re.compile(r"^\s*global\s")
LOOP_OVER_ONE = re.compile(r"\bfor one in\b|\blambda one\b")
SUPPRESSION = re.compile(r"#\s*(?:noqa|(?:type|pyright):\s*ignore)\b")
REASONED = re.compile(
    r"#\s*(?:noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|(?:type|pyright):\s*ignore\[[\w, -]+\])\s+- \S+"
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
        for file in python_files(*FOLDERS)
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
        and (text := ast.get_docstring(node))
        and VAGUE_OPENER.match(text)
    ]


def test_no_value_passes_through_a_global():
    assert lines_like(GLOBAL, *FOLDERS) == []


def test_every_suppression_names_its_rule_and_its_reason():
    # A file-wide `ruff: noqa: RULE` stands below a comment that explains it.
    bare = [
        line
        for line in lines_like(SUPPRESSION, *FOLDERS)
        if not REASONED.search(line) and "# ruff: noqa: " not in line
    ]
    assert bare == []


def test_loop_variables_are_named_for_what_they_hold():
    assert lines_like(LOOP_OVER_ONE, *FOLDERS) == []


def test_docstrings_begin_with_what_is_done():
    assert vague_docstrings() == []
