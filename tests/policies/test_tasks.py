"""Tasks take and return data, and neither cache nor keep what they return."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.tasks import Task
from pydantic import BaseModel

import tasks

SCALARS = (str, bytes, int, float, bool, type(None), Enum, BaseModel)


def every_task() -> dict[str, Task[..., object]]:
    modules = [
        importlib.import_module(f"tasks.{module.name}")
        for module in pkgutil.iter_modules(tasks.__path__)
    ]
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Task)
    }


TASKS = every_task()


def kinds_of(annotation: Any) -> Iterator[Any]:
    """Take an annotation apart, down to what is in its containers and unions."""
    if get_origin(annotation) is Literal:
        return
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        if argument is not ...:
            yield from kinds_of(argument)


def is_data(kind: Any) -> bool:
    """Whether values of a type are data: a client is no frozen dataclass and no model."""
    if dataclasses.is_dataclass(kind):
        return bool(getattr(kind, "__dataclass_params__").frozen)  # noqa: B009 - pyright does not know the attribute
    return isinstance(kind, type) and issubclass(kind, SCALARS)


def test_there_are_tasks():
    assert len(TASKS) >= 5


@pytest.mark.parametrize("name", TASKS)
def test_a_task_takes_and_returns_data(name: str):
    hints = get_type_hints(TASKS[name].fn)
    odd = {
        f"{parameter}: {annotation}"
        for parameter, annotation in hints.items()
        for kind in kinds_of(annotation)
        if not is_data(kind)
    }
    assert odd == set()


@pytest.mark.parametrize("name", TASKS)
def test_a_task_caches_nothing(name: str):
    assert TASKS[name].cache_policy is NO_CACHE


@pytest.mark.parametrize("name", TASKS)
def test_a_task_persists_nothing(name: str):
    assert TASKS[name].persist_result is False


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_what_it_does(name: str):
    assert TASKS[name].description
