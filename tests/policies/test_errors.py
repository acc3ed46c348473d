"""Errors are one tree, which its docstring draws, and pass between processes."""

import importlib
import inspect
import pickle
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import aletheia
import blocks
import deployments
import flows
import tasks
from aletheia import errors
from aletheia.errors import AletheiaError, BudgetExceeded, Conflict

PACKAGES = (aletheia, blocks, deployments, flows, tasks)


def import_product() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def is_ours(error: type[AletheiaError]) -> bool:
    return error.__module__.partition(".")[0] in {package.__name__ for package in PACKAGES}


def descend(
    error: type[AletheiaError], depth: int = 0
) -> Iterator[tuple[int, type[AletheiaError]]]:
    """The subclasses of an error in the product, each with its depth, parents first.

    Siblings are sorted by module, those of `aletheia.errors` first, each module's as written.
    """
    yield depth, error
    for child in sorted(error.__subclasses__(), key=place):
        if is_ours(child):
            yield from descend(child, depth + 1)


def place(error: type[AletheiaError]) -> tuple[bool, str]:
    return error.__module__ != errors.__name__, error.__module__


import_product()
TREE = list(descend(AletheiaError))


def drawn() -> list[tuple[int, str]]:
    lines = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    tree: list[tuple[int, str]] = []
    for line in lines:
        branch, _, rest = line.rpartition("── ")
        tree.append((len(branch) // 4 if branch else 0, rest.split()[0]))
    return tree


def test_the_docstring_draws_every_error_of_the_product():
    assert drawn() == [(depth, error.__name__) for depth, error in TREE]


def example(error: type[AletheiaError]) -> AletheiaError:
    """An error with a value of the right kind for each of its arguments."""
    values: dict[str, Any] = {
        "until": datetime(2030, 1, 1, tzinfo=UTC),
        "status": 404,
        "retry_after_s": 1.5,
        "tiers": ("minute",),
        "limit": Decimal(1),
        "spent": Decimal(2),
        "asked": Decimal(3),
        "failures": ("one part", "another"),
        "log": Path("worker.log"),
    }
    parameters = list(inspect.signature(error.__init__).parameters.values())[1:]
    given = [values.get(p.name, p.name) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return error(*given)


@pytest.mark.parametrize("error", [error for _, error in TREE], ids=lambda error: error.__name__)
def test_an_error_passes_between_processes(error: type[AletheiaError]):
    before = example(error)
    after = pickle.loads(pickle.dumps(before))
    assert type(after) is error
    assert (str(after), vars(after), after.code) == (str(before), vars(before), before.code)


@pytest.mark.parametrize(
    "before",
    [
        Conflict("upstream", 409, "settled", may_be_ours=True),
        BudgetExceeded("BUDGET_TOKENS_PER_RUN", 5, 5, 1, None),
    ],
    ids=["a keyword", "no end"],
)
def test_nothing_of_an_error_is_lost_on_the_way(before: AletheiaError):
    after = pickle.loads(pickle.dumps(before))
    assert (str(after), vars(after)) == (str(before), vars(before))


@pytest.mark.parametrize("error", [error for _, error in TREE], ids=lambda error: error.__name__)
def test_every_error_has_a_code_of_letters_and_underscores(error: type[AletheiaError]):
    assert re.fullmatch(r"[a-z_]+", example(error).code)
