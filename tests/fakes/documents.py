"""Stores that are lost for a while, and processes that die between two steps of one."""

import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aletheia.adapters.documents.embedded import FILE, EmbeddedDocuments
from aletheia.adapters.documents.notation import check_writes
from aletheia.documents import Write, write_in_turn
from aletheia.errors import Unavailable
from tests.crash.harness import Steps

WRITES = ("insert", "update", "upsert", "take", "delete")
_METHODS = (*WRITES, "get", "find", "count", "count_by")


class InTurnDocuments(EmbeddedDocuments):
    """The embedded store without transactions: a group is made one write after the other.

    So what is killed or lost between two of them is found, too, as it may be on MongoDB.
    """

    has_transactions = False

    async def write(self, writes: Sequence[Write]) -> list[Any]:
        check_writes(writes)
        return await write_in_turn(self, writes)


class _Observed(InTurnDocuments):
    """The embedded store, with something before and after each call."""

    observed: Collection[str] = _METHODS

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return _surround(self, found) if name in _METHODS and name in self.observed else found

    def before(self) -> None:
        """Do something before a call."""

    def after(self) -> None:
        """Do something after a call."""


def _surround(
    store: _Observed, method: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        store.before()
        answer = await method(*args, **kwargs)
        store.after()
        return answer

    return call


class LosableDocuments(_Observed):
    """The embedded store, out of reach on demand.

    Attributes:
        is_lost: every call fails.
        loses_answers: every call is done and fails.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.is_lost = False
        self.loses_answers = False

    def before(self) -> None:
        if self.is_lost:
            raise Unavailable("store", "made to be lost")

    def after(self) -> None:
        if self.loses_answers:
            raise Unavailable("store", "made to lose its answer")


class SteppedDocuments(_Observed):
    """The embedded store, with a step before and after each call.

    Args:
        observed: methods whose calls are steps.
        steps_before: whether there is a step before a call; what is done one after the other has
            it after the call before.
        steps_after: whether there is a step after a call; likewise.
        options: what else the store takes.
    """

    def __init__(
        self,
        directory: Path,
        steps: Steps,
        *,
        observed: Collection[str] = _METHODS,
        steps_before: bool = True,
        steps_after: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(directory, **options)
        self._steps, self.observed = steps, observed
        self._steps_before, self._steps_after = steps_before, steps_after

    def before(self) -> None:
        if self._steps_before:
            self._steps.pass_one()

    def after(self) -> None:
        if self._steps_after:
            self._steps.pass_one()


@contextmanager
def locked(directory: Path, for_s: float) -> Generator[None]:
    """Hold the lock of the store's file from another connection, for a while."""
    ready = threading.Event()

    def hold() -> None:
        other = sqlite3.connect(directory / FILE, isolation_level=None, timeout=30)
        other.execute("BEGIN IMMEDIATE")
        ready.set()
        time.sleep(for_s)
        other.execute("ROLLBACK")
        other.close()

    holding = threading.Thread(target=hold)
    holding.start()
    ready.wait(40)
    yield
    holding.join()
