"""Two workers of a lane against one, and what faulty task types cost the others in a lane."""

import asyncio
import contextlib
import logging
import os
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar, Final

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.sign_in import NoSignIn
from aletheia.analysis.processor import Finished, TypeSpec
from aletheia.analysis.registry import Processors, load_processors
from aletheia.analysis.tools import Build, Toolbox
from aletheia.intake.lanes.worker import LaneCollector, LaneWorker
from aletheia.intake.ledger import Ledger
from aletheia.intake.pipeline import drain, drain_slots
from aletheia.intake.poller import Poller
from aletheia.settings import IntakeSettings
from bench.programs import BenchFailed
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream

LANE: Final = "llm"
LATENCY_S: Final = 0.1
TASKS: Final = 60
GOOD_TASKS: Final = 300
ROUNDS: Final = 2
"""Of each, in turns; the best counts, as what else the machine does only slows them."""

SLOTS: Final = 5
"""`LANE_LLM_CONCURRENCY` where it is not set."""

FLOOD_LINES: Final = 20_000
LOGGER: Final = "bench.workers.flood"


class Waiting:
    """Answers after a while, as a remote model does."""

    spec: ClassVar[TypeSpec] = TypeSpec(lane="llm")

    def admit(self, task_input: Mapping[str, Any]) -> str:
        """Take anything."""
        del task_input
        return ""

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Answer each input."""
        del group
        for index, _ in enumerate(inputs):
            await asyncio.sleep(LATENCY_S)
            yield [Finished(index, {"is_done": True})]


class Hanging(Waiting):
    """Never answers; its limit of time is short."""

    spec: ClassVar[TypeSpec] = TypeSpec(lane="llm", time_limit_s=1)

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Wait for ever."""
        del group, inputs
        await asyncio.Event().wait()
        yield []


class Flooding(Waiting):
    """Writes a great many lines to the log before it answers."""

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Write, and answer."""
        log = logging.getLogger(LOGGER)
        for number in range(FLOOD_LINES):
            log.warning("line %d of very many", number)
            if number % 100 == 0:
                await asyncio.sleep(0)
        async for finished in super().process(group, inputs):
            yield finished


DEAD_ON_IMPORT: Final = EntryPoint("dead", "bench.workers.dead:Dead", "aletheia.processors")
"""A plug-in whose module ends the interpreter when it is imported."""


class Stage:
    """A lane between a strict upstream and a store of its own."""

    def __init__(self, upstream: FakeUpstream, documents: EmbeddedDocuments) -> None:
        self.upstream, self.documents = upstream, documents
        self.client = HttpUpstream(upstream.url, sign_in=NoSignIn())

    def ledger(self, lane: str = "intake") -> Ledger:
        """Open the ledger as one more holder of rows."""
        settings = IntakeSettings(_env_file=None, polling_interval_seconds=1)  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
        return Ledger(self.documents, settings, owner="bench", lane=lane)

    async def hand_over(self, processors: Processors) -> None:
        """Claim everything, and leave it to the lane."""
        poller = Poller(self.client, self.ledger(), processors)
        await poller.held.ledger.prepare()
        async with poller.holding():
            await drain(poller.collector.collect, poller.process)

    async def work(self, processors: Processors, *, slots: int) -> None:
        """Be a worker of the lane until nothing waits in it."""
        worker = LaneWorker(self.client, self.ledger(LANE), processors, LANE)
        collector = worker.collector
        assert isinstance(collector, LaneCollector)
        async with worker.holding():
            await drain_slots(
                collector.collect,
                worker.process,
                slots=slots,
                has_work=collector.has_work,
                poll_s=0.05,
            )


@contextlib.asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    """Open a lane with nothing in it."""
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        upstream = await stack.enter_async_context(serve_fake_upstream())
        documents = EmbeddedDocuments(Path(directory))
        await documents.open()
        stack.push_async_callback(documents.close)
        stage = Stage(upstream, documents)
        await stage.client.open()
        stack.push_async_callback(stage.client.close)
        yield stage


async def measure_two_workers(tasks: int = TASKS) -> dict[str, float]:
    """Return how much faster two workers are than one on work that waits for others."""
    processors = await load_processors({"waiting": Waiting}, Toolbox({}), plugins=[])
    took: list[float] = []
    for workers in (1, 2):
        async with open_stage() as stage:
            for number in range(tasks):
                stage.upstream.add(f"t{number}", "hello", type="waiting")
            await stage.hand_over(processors)
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(stage.work(processors, slots=1))
            took.append(time.perf_counter() - began)
            _check(stage, tasks)
    return {"lane_one_worker_s": took[0], "lane_two_workers": took[0] / took[1]}


async def measure_faults(tasks: int = GOOD_TASKS) -> dict[str, float]:
    """Return the rate of sound tasks beside faulty ones, as a share of their rate alone.

    One hangs, one floods its log, and a type dies on import.
    """
    log = logging.getLogger(LOGGER)
    log.propagate = False
    log.addHandler(logging.FileHandler(os.devnull))
    sound, faulty = await _build(has_faults=False), await _build(has_faults=True)
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(ROUNDS):
        alone.append(await _measure_rate(sound, tasks, has_faults=False))
        beside.append(await _measure_rate(faulty, tasks, has_faults=True))
    return {"lane_rate_alone": max(alone), "rate_beside_faults": max(beside) / max(alone)}


async def _build(*, has_faults: bool) -> Processors:
    """Build the sound type, and the faulty ones beside it."""
    if not has_faults:
        return await load_processors({"waiting": Waiting}, Toolbox({}), plugins=[])
    types: dict[str, Build] = {"waiting": Waiting, "hanging": Hanging, "flooding": Flooding}
    processors = await load_processors(types, Toolbox({}), plugins=[DEAD_ON_IMPORT])
    if "dead" not in processors.faults:
        raise BenchFailed("a type that dies on import is not among the faults")
    return processors


async def _measure_rate(processors: Processors, tasks: int, *, has_faults: bool) -> float:
    """Return how many sound tasks a second are reported, until the last of them is."""
    async with open_stage() as stage:
        if has_faults:
            stage.upstream.add("hang", "hello", type="hanging")
            stage.upstream.add("flood", "hello", type="flooding")
        for number in range(tasks):
            stage.upstream.add(f"t{number}", "hello", type="waiting")
        await stage.hand_over(processors)
        began = time.perf_counter()
        working = asyncio.create_task(stage.work(processors, slots=SLOTS))
        while not (_are_done(stage, tasks) or working.done()):
            await asyncio.wait([working], timeout=0.02)
        took_s = time.perf_counter() - began
        await working
        _check(stage, tasks)
    return tasks / took_s


def _are_done(stage: Stage, tasks: int) -> bool:
    return all(stage.upstream.tasks[f"t{number}"].state == "succeeded" for number in range(tasks))


def _check(stage: Stage, tasks: int) -> None:
    if not _are_done(stage, tasks):
        raise BenchFailed("not all tasks were reported as succeeded")
