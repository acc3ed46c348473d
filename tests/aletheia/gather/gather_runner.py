"""Works gather runs, also in child processes that kill themselves at a chosen step.

Run as a program it serves the orders of `tests.crash.harness`, each `{"directory", "kill_at",
"max_iterations"}`. A step is the moment before a write to a store or a question to a model; each
answer is logged, as it is paid for.
"""

import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.content.mongodb import MongoContent
from aletheia.adapters.mock.chat import MockChat
from aletheia.brain.access import BrainAccess
from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import Brain
from aletheia.documents import Documents
from aletheia.errors import Misconfigured
from aletheia.events.log import EventLog
from aletheia.gather.attempt import Attempt, Turn
from aletheia.gather.batches import GatherDeps
from aletheia.gather.event_derivation import EventEmitter
from aletheia.gather.generation import GenerationPlan
from aletheia.gather.knowledge import Knowledge
from aletheia.gather.progress import GatherReport, Run, RunOrder, StopReason
from aletheia.gather.project_lock import HolderState
from aletheia.gather.runs import GatherRuns
from aletheia.gather.scoring import QualityScorer
from aletheia.items.calibration import identity
from aletheia.items.decisions import ProjectDecisions
from aletheia.items.dedup import Deduplicator
from aletheia.items.departments import DepartmentList
from aletheia.items.project_items import ProjectItems
from aletheia.items.vector_cache import VectorCache
from aletheia.llm.messages import ChatModel, ChatRequest, Completion
from aletheia.llm.usage import BudgetUsage
from aletheia.quality.embedding import QualityCounter
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.text.language import guess_language
from aletheia.text.normalisation import normalise
from tests.crash.harness import Steps, serve_orders
from tests.fakes.departments import FakeDepartments, make_department
from tests.fakes.documents import SteppedDocuments

MODEL = "words"
PROJECT = "shop"
DIMENSIONS = 256

GATHER_WRITES = ("insert", "update", "upsert", "take")


async def embed_words(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed a text as the words it has."""
    rows = np.zeros((len(texts), DIMENSIONS), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in normalise(text).split():
            row[zlib.crc32(word.encode()) % DIMENSIONS] += 1
    return rows


async def no_budgets(run_id: str) -> Sequence[BudgetUsage]:
    """Return no budget at all."""
    del run_id
    return ()


async def lose_brain() -> Brain:
    """Fail as where there is no Brain, so that all intents wait."""
    raise Misconfigured("NEO4J_URI", "leads nowhere")


async def holder_ended(run_id: str) -> HolderState:
    """Return that a run is over."""
    del run_id
    return "ended"


def three_departments() -> FakeDepartments:
    """Make departments: the first is never filled, the second easily, the third by a batch."""
    hard = {"coordination_settings": {"min_quality_threshold": 100}}
    easy = {"coordination_settings": {"min_quality_threshold": 20}}
    fair = {"coordination_settings": {"min_quality_threshold": 70}}
    return FakeDepartments(
        [
            make_department("legal", 1, **hard),
            make_department("support", 2, **easy),
            make_department("finance", 3, **fair),
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeps(GatherDeps):
    """What the steps work with, and the store that has the run and its events."""

    documents: Documents


def make_deps(
    documents: Documents,
    content: EmbeddedContent | MongoContent,
    chat: ChatModel,
    project_id: str = PROJECT,
) -> StoredDeps:
    """Build what the steps work with, as production does, with a Brain that is out of reach."""
    items = ProjectItems(content, VectorCache(content, MODEL), embed_words, MODEL)
    access = BrainAccess(lose_brain, CircuitBreaker(documents, threshold=5, cooldown_s=60))
    return StoredDeps(
        documents=documents,
        runs=GatherRuns(documents),
        items=items,
        chat=chat,
        plan=GenerationPlan("default-model", items=6),
        deduplicator=Deduplicator(identity(MODEL)),
        scorer=QualityScorer(QualityCounter(None)),
        budgets=no_budgets,
        judge=None,
        decisions=ProjectDecisions(documents, project_id),
        brain=Knowledge(access, Outbox(documents), project_id, items),
        language_of=guess_language,
    )


def make_attempt(deps: StoredDeps, run: Run) -> Attempt:
    """Make an attempt at a run, whose events go to the log."""
    return Attempt(deps, run, EventEmitter(EventLog(deps.documents), "default-model"))


async def find_verdict(deps: StoredDeps, run: Run, position: int) -> tuple[Run, StopReason | None]:
    """Find out whether a department stops; return the run as it is then, and the reason."""
    attempt = make_attempt(deps, run)
    slug = run.progress.departments[position].department.slug
    reason = await attempt.find_stop_reason(Turn(run.id, run.project_id, position, slug))
    return attempt.run, reason


async def work_iteration(deps: StoredDeps, run: Run, position: int) -> Run:
    """Work an iteration of a department; return the run with it."""
    attempt = make_attempt(deps, run)
    turn = attempt.next_turn()
    assert turn is not None
    assert turn.position == position
    await take_steps(attempt, turn)
    return attempt.run


async def take_steps(attempt: Attempt, turn: Turn) -> None:
    """Take the steps of an iteration, as the flow does."""
    if (batch := await attempt.generate_items(turn)) is not None:
        fresh = await attempt.drop_duplicates(batch)
        saved = await attempt.save_items(fresh)
        await attempt.score_department(saved)


async def work_run(
    deps: StoredDeps, order: RunOrder, source: Callable[[], Awaitable[DepartmentList]]
) -> tuple[Run, GatherReport]:
    """Work a run to its end, as the flow does."""
    run = await deps.runs.open(order, source, holder_ended)
    attempt = make_attempt(deps, run)
    await attempt.emit()
    holding = deps.runs.holding(run) if run.report is None else nullcontext()
    async with holding:
        while (turn := attempt.next_turn()) is not None:
            while await attempt.find_stop_reason(turn) is None:
                await take_steps(attempt, turn)
    report = await attempt.close()
    return attempt.run, report


class SteppedContent(SteppedDocuments, EmbeddedContent):
    """The real store of items, with steps."""


class PaidChat(MockChat):
    """Writes down each answer in a file before it gives it."""

    def __init__(self, log: Path, steps: Steps) -> None:
        super().__init__()
        self._log, self._steps = log, steps

    async def complete(self, request: ChatRequest) -> Completion:
        self._steps.pass_one()
        completion = await super().complete(request)
        with self._log.open("a") as log:
            log.write(f"{zlib.crc32(completion.text.encode()):08x}\n")
        return completion


async def work(order: dict[str, Any], steps: Steps) -> None:
    """Work one run."""
    directory = Path(order["directory"])
    stepped: dict[str, Any] = {"observed": GATHER_WRITES, "steps_after": False}
    documents = SteppedDocuments(directory, steps, **stepped)
    content = SteppedContent(directory, steps, project_id=PROJECT, **stepped)
    await documents.open()
    await content.open()
    deps = make_deps(documents, content, PaidChat(directory / "paid", steps))
    deps = replace(deps, runs=GatherRuns(documents, lease_s=3600))
    run_order = RunOrder("run-1", PROJECT, "user-1", order["max_iterations"])
    await work_run(deps, run_order, three_departments())
    await content.close()
    await documents.close()


if __name__ == "__main__":
    serve_orders(work)
