"""Tasks neither cache nor keep what they return."""

import importlib
import pkgutil

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.tasks import Task

import tasks


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


def test_there_are_tasks():
    assert len(TASKS) >= 5


@pytest.mark.parametrize("name", TASKS)
def test_a_task_caches_nothing(name: str):
    assert TASKS[name].cache_policy is NO_CACHE


@pytest.mark.parametrize("name", TASKS)
def test_a_task_persists_nothing(name: str):
    assert TASKS[name].persist_result is False


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_what_it_does(name: str):
    assert TASKS[name].description
