"""A run killed at every step, and another attempt that finds what it left (SPEC §4)."""

import random
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.brain.access import BrainAccess
from aletheia.brain.index import IndexedBrain
from aletheia.brain.items import BrainItems
from aletheia.brain.outbox import DeliveryPace, Outbox
from aletheia.events.log import EventLog
from aletheia.events.models import Event
from aletheia.gather.progress import Run
from aletheia.gather.runs import GatherRuns
from aletheia.items.content import SavedItem
from aletheia.items.decisions import ProjectDecisions
from aletheia.items.vector_cache import VectorCache
from aletheia.resilience.breaker import CircuitBreaker
from tests.aletheia.gather.gather_runner import DIMENSIONS, MODEL, PROJECT, embed_words
from tests.crash.harness import Forks, forking


@pytest.fixture
async def forks() -> AsyncGenerator[Forks]:
    async with forking("tests.aletheia.gather.gather_runner") as forks:
        yield forks


@dataclass
class Left:
    """What a run has left behind."""

    run: Run
    items: dict[str, SavedItem]
    paid: Counter[str]
    indexed: dict[str, str]
    events: list[tuple[int, Event]]
    decisions: dict[str, str]

    @property
    def outcome(self) -> dict[str, Any]:
        """What must be the same, whatever happened on the way."""
        assert self.run.report is not None
        report = self.run.report.model_dump(exclude={"processing_time_ms"})
        reasons = [department.reason for department in self.run.progress.departments]
        return {
            "report": report,
            "reasons": reasons,
            "items": sorted(self.items),
            "events": self.events,
            "dropped": self.decisions,
        }


async def read_left(directory: Path) -> Left:
    documents, content = EmbeddedDocuments(directory), EmbeddedContent(directory, PROJECT)
    await documents.open()
    await content.open()
    run = await GatherRuns(documents).load("run-1")
    ids = [item_id async for page in content.list_ids() for item_id in page]
    items = await content.read_items(ids)
    indexed = await deliver(documents, content, directory)
    events = [(event.seq, event.read()) for event in await EventLog(documents).read(PROJECT)]
    dropped = await ProjectDecisions(documents, PROJECT).list_dropped()
    await content.close()
    await documents.close()
    log = directory / "paid"
    return Left(
        run,
        items,
        Counter(log.read_text().splitlines()),
        indexed,
        events,
        {kept.item.id: str(kept.decision.match_id) for kept in dropped},
    )


async def deliver(
    documents: EmbeddedDocuments, content: EmbeddedContent, directory: Path
) -> dict[str, str]:
    """Deliver to a Brain what the run left in the outbox; return the departments of its items."""
    graph = EmbeddedGraph(directory)

    async def fetch() -> IndexedBrain:
        return IndexedBrain(graph, embed_words, MODEL, DIMENSIONS)

    breakers = CircuitBreaker(documents, threshold=5, cooldown_s=60)
    access = BrainAccess(fetch, breakers)
    items = BrainItems(content, VectorCache(content, MODEL), embed_words)
    outbox = Outbox(documents, pace=DeliveryPace(settle_s=0))
    await outbox.deliver(PROJECT, access, items)
    assert await outbox.states() == []
    found = {item.id: item.department for item in await graph.list_items(PROJECT)}
    await graph.close()
    return found


def check_counts(left: Left, where: str) -> None:
    """See that every item is there once, and counted once."""
    report = left.run.report
    assert report is not None, where
    counted = [
        item_id
        for department in left.run.progress.departments
        for iteration in department.iterations
        for item_id in iteration.item_ids
    ]
    assert sorted(counted) == sorted(left.items), where
    assert report.items_created == len(left.items), where
    assert left.indexed == {item.id: item.department for item in left.items.values()}, where
    assert sum(row.items_created for row in report.summary) == len(left.items), where
    assert all(item.automation and item.automation.mock for item in left.items.values()), where


@pytest.mark.timeout(300)
async def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(forks: Forks, tmp_path: Path):
    ending = await forks.work(directory=str(tmp_path / "whole"), max_iterations=3)
    assert ending.is_done
    assert ending.steps > 30, "the steps of a whole run"
    whole = await read_left(tmp_path / "whole")
    check_counts(whole, "never killed")
    assert len(whole.items) > 10
    assert set(whole.paid.values()) == {1}

    for kill_at in range(1, ending.steps + 1):
        directory, where = tmp_path / str(kill_at), f"killed at step {kill_at}"
        order: dict[str, Any] = {"directory": str(directory), "max_iterations": 3}
        assert (await forks.work(kill_at, **order)).was_killed, where
        assert (await forks.work(**order)).is_done, where
        left = await read_left(directory)
        check_counts(left, where)
        assert left.outcome == whole.outcome, where
        assert left.paid.keys() == whole.paid.keys(), where
        assert left.paid.total() <= whole.paid.total() + 1, f"{where}: a kept answer was paid again"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
async def test_a_run_killed_again_and_again_gets_to_its_end(
    forks: Forks, tmp_path: Path, seed: int
):
    whole_ending = await forks.work(directory=str(tmp_path / "whole"), max_iterations=8)
    whole = await read_left(tmp_path / "whole")
    check_counts(whole, "never killed")
    draw = random.Random(seed)
    kills = 0
    while True:
        kill_at = draw.randint(12, whole_ending.steps // 2)
        ending = await forks.work(kill_at, directory=str(tmp_path / "killed"), max_iterations=8)
        if not ending.was_killed:
            break
        kills += 1
        assert kills < 60, "it gets nowhere"
    assert ending.is_done
    assert kills >= 2
    left = await read_left(tmp_path / "killed")
    check_counts(left, f"seed {seed}")
    assert left.outcome == whole.outcome
    assert left.paid.total() <= whole.paid.total() + kills
