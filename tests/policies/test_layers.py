"""Imports go one way."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import ROOT

PRODUCT = ("aletheia", "flows", "tasks", "blocks", "deployments")
NOT_PRODUCT = re.compile(r"^(tests|bench)[./]")
TESTS_OR_BENCH = re.compile(r"\b(tests|bench)[./]")
DEVELOPERS_TARGETS = {"coverage", "services", "neo4j"}


@pytest.mark.timeout(120)
def test_import_contracts_hold():
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    checked = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def names_used(file: Path) -> Iterator[str]:
    """Yield the modules that a file imports, each with a dot at its end, and its strings."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        match node:
            case ast.Import(names):
                yield from (f"{alias.name}." for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield f"{module}."
            case ast.Constant(str(text)):
                yield text
            case _:
                pass


@pytest.mark.parametrize("package", PRODUCT)
def test_the_product_neither_imports_nor_starts_a_test_or_a_bench(package: str):
    for file in (ROOT / package).rglob("*.py"):
        found = [name for name in names_used(file) if NOT_PRODUCT.match(name)]
        assert not found, file


def test_nothing_of_the_product_is_deployed_from_the_tests():
    assert not TESTS_OR_BENCH.search((ROOT / "prefect.yaml").read_text())


def test_no_script_of_the_product_starts_a_test_or_a_bench():
    scripts = [script for package in PRODUCT for script in (ROOT / package).rglob("*.sh")]
    assert scripts
    for script in scripts:
        assert not TESTS_OR_BENCH.search(script.read_text()), script


def test_only_targets_for_developers_start_what_belongs_to_the_tests():
    recipes = re.findall(
        r"^([^\s:#]+):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert {"demo", "up", "neo4j"} < {target for target, _ in recipes}
    found = {target for target, recipe in recipes if TESTS_OR_BENCH.search(recipe)}
    assert found == DEVELOPERS_TARGETS
