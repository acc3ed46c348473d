"""A bench whose tasks belong to a lane, on every store."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aletheia.intake.lanes.worker import LaneCollector, LaneWorker
from aletheia.intake.ledger import Ledger
from aletheia.intake.pipeline import drain_slots
from aletheia.intake.poller import Poller
from aletheia.metrics import LANE_WAITING
from aletheia.series import Counters
from tests.aletheia.adapters.documents.conftest import BACKENDS, mongodb_uri, opened
from tests.aletheia.intake.conftest import Bench
from tests.fakes.upstream import serve_fake_upstream

__all__ = ["mongodb_uri"]

LANE = "llm"


class LaneBench(Bench):
    """A bench whose tasks belong to a lane."""

    def worker(self, **changes: Any) -> LaneWorker:
        ledger = Ledger(
            self.documents, self.settings(**changes), owner="w", clock=self.clock.both, lane=LANE
        )
        return LaneWorker(self.client, ledger, self.processors, LANE)

    async def hand_over(self, **changes: Any) -> Poller:
        """Work a shift until nothing is left to claim."""
        return await self.drain(**changes)

    async def work(self, worker: LaneWorker | None = None, *, slots: int = 1) -> LaneWorker:
        """Work off what waits in the lane."""
        worker = worker or self.worker()
        async with worker.holding():
            await drain_slots(
                worker.collector.collect,
                worker.process,
                slots=slots,
                has_work=self.collector_of(worker).has_work,
                poll_s=0.01,
            )
        return worker

    def collector_of(self, worker: LaneWorker) -> LaneCollector:
        """Return what takes tasks for a worker."""
        assert isinstance(worker.collector, LaneCollector)
        return worker.collector

    async def take(self, worker: LaneWorker) -> None:
        """Take one task, and lose the worker."""
        await worker.collector.collect()

    async def waiting(self) -> float:
        counters = Counters(await self.documents.counters())
        return counters.value(LANE_WAITING, LANE)


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest) -> AsyncGenerator[LaneBench]:
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(serve_fake_upstream())
        documents = await stack.enter_async_context(opened(request.param, request))
        bench = LaneBench(upstream, documents)  # pyright: ignore[reportArgumentType] - either store
        bench.processors.lanes = {"echo": LANE}
        await bench.client.open()
        stack.push_async_callback(bench.client.close)
        yield bench
