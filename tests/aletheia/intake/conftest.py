"""A poller between a strict upstream over HTTP and a real embedded store."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.sign_in import NoSignIn
from aletheia.intake.ledger import Ledger
from aletheia.intake.pipeline import drain
from aletheia.intake.poller import Poller
from aletheia.intake.rows import ROWS
from aletheia.settings import IntakeSettings
from aletheia.store.clock import Clock
from tests.fakes.processors import FakeProcessors
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream


class BenchClock:
    """A clock that tests move: time passes by as much as `now` is changed, unless it is `set`."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self._set_by_s = 0.0

    def __call__(self) -> float:
        return self.now

    def set(self, by_s: float) -> None:
        """Set the clock forward, or back, while no time passes."""
        self.now += by_s
        self._set_by_s += by_s

    @property
    def both(self) -> Clock:
        """The clock as the ledger takes it."""
        return Clock(self, lambda: self.now - self._set_by_s)


class Bench:
    """Everything around a poller.

    Attributes:
        upstream: what it polls.
        processors: what it computes with.
        documents: where its ledger is.
        clock: what it lives by.
    """

    def __init__(self, upstream: FakeUpstream, documents: EmbeddedDocuments) -> None:
        self.upstream, self.documents = upstream, documents
        self.processors = FakeProcessors()
        self.clock = BenchClock()
        self.client = HttpUpstream(
            upstream.url, sign_in=NoSignIn(), retry_base_s=0, max_retries=2, timeout_s=5
        )

    def add(self, task_id: str, text: str = "hello", **raw: Any) -> None:
        """List a task of the type that the fake processors compute."""
        self.upstream.add(task_id, text, **{"type": "echo", **raw})

    def ledger(self, **changes: Any) -> Ledger:
        """Open the ledger, with some settings changed."""
        settings = self.settings(**changes)
        return Ledger(self.documents, settings, owner="a test", clock=self.clock.both)

    def settings(self, **changes: Any) -> IntakeSettings:
        """Return the default settings, with some changed."""
        changes = {"retry_base_seconds": 0, **changes}
        return IntakeSettings(_env_file=None, **changes)  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument

    def poller(self, ledger: Ledger | None = None, **changes: Any) -> Poller:
        """Begin a poller, with some settings changed."""
        return Poller(self.client, ledger or self.ledger(**changes), self.processors)

    async def drain(self, poller: Poller | None = None, **changes: Any) -> Poller:
        """Work a poller until nothing is left to do."""
        poller = poller or self.poller(**changes)
        await poller.held.ledger.prepare()
        async with poller.holding():
            await drain(poller.collector.collect, poller.process)
        return poller

    async def rows(self) -> dict[str, dict[str, Any]]:
        """Read the ledger by task id; of several rows the one claimed last."""
        rows = await self.documents.find(ROWS, {}, sort="claimed_at")
        return {row.get("task_id", row["_id"]): row for row in rows}

    async def states(self) -> dict[str, str]:
        """Read the states in the ledger by task id."""
        return {task_id: row["state"] for task_id, row in (await self.rows()).items()}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(serve_fake_upstream())
        documents = EmbeddedDocuments(tmp_path)
        await documents.open()
        stack.push_async_callback(documents.close)
        bench = Bench(upstream, documents)
        await bench.client.open()
        stack.push_async_callback(bench.client.close)
        yield bench
