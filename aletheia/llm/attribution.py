"""For what a call to a model is made: project, department, tasks, as far as anybody says so."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from aletheia.logs import COMPUTATION

_PROJECT: Final = ContextVar[str | None]("project", default=None)
_DEPARTMENT: Final = ContextVar[str | None]("department", default=None)


@contextmanager
def spending_on(project_id: str, department: str) -> Generator[None]:
    """Attribute the calls that are made in the block to a project and a department, by its slug."""
    project, slug = _PROJECT.set(project_id), _DEPARTMENT.set(department)
    try:
        yield
    finally:
        _PROJECT.reset(project)
        _DEPARTMENT.reset(slug)


def current_project() -> str | None:
    """Return the project that calls are made for now; `None` if nobody said."""
    return _PROJECT.get()


def current_department() -> str | None:
    """Return the department that calls are made for now, its slug; `None` if nobody said."""
    return _DEPARTMENT.get()


def current_computation() -> str | None:
    """Return the id of the computation that calls are made in; `None` where no task is computed."""
    computation = COMPUTATION.get()
    return None if computation is None else computation.id


def count_current_tasks() -> int:
    """Return how many tasks that computation is of; 0 where no task is computed."""
    computation = COMPUTATION.get()
    return 0 if computation is None else len(computation.task_ids)
