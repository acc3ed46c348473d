"""A department's turn, step by step (SPEC §4)."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.content.mongodb import MongoContent, database_of
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.documents import Insert
from aletheia.errors import (
    AletheiaError,
    BudgetExceeded,
    InvalidTask,
    RateLimited,
    Refused,
    Unavailable,
)
from aletheia.gather.progress import Run, RunOrder, StopReason
from aletheia.gather.prompts.generate_items import PromptContext
from aletheia.gather.resumption import Overrides
from aletheia.gather.runs import QUALITY, GatherRuns
from aletheia.gather.scoring import QualityScorer, Scored
from aletheia.items.content import SavedItem
from aletheia.items.dedup import Decision
from aletheia.items.departments import Department
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.llm.messages import ChatModel, ChatRequest, Completion, read_quoted
from aletheia.llm.usage import BudgetUsage
from aletheia.quality.embedding import QualityCounter
from aletheia.quality.prompts.judge_quality import FORM as JUDGE_FORM
from aletheia.store.clock import Clock
from tests.aletheia.gather.gather_runner import (
    PROJECT,
    StoredDeps,
    find_verdict,
    holder_ended,
    make_deps,
    three_departments,
    work_run,
)
from tests.aletheia.gather.gather_runner import work_iteration as work
from tests.fakes.chat import ScriptedChat
from tests.fakes.departments import FakeDepartments, make_department
from tests.fakes.documents import LosableDocuments
from tests.fakes.openai_chat import items_text
from tests.services.fixtures import mongodb_uri

__all__ = ["mongodb_uri"]

ORDER = RunOrder("run-1", PROJECT, "user-1", 6)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class FlakyChat(MockChat):
    """The mock, which now and then cannot be had.

    Attributes:
        errors: raised by the next questions, one each.
        prompts: what it was asked.
    """

    def __init__(self, *errors: AletheiaError, **options: Any) -> None:
        super().__init__(**options)
        self.errors, self.prompts = list(errors), list[str]()

    async def complete(self, request: ChatRequest) -> Completion:
        self.prompts.append(request.messages[-1].text)
        if self.errors:
            raise self.errors.pop(0)
        return await super().complete(request)


@dataclass
class Scores:
    """A scorer that gives its scores one after another, the last one for ever."""

    scores: list[float]
    seen: list[int] = field(default_factory=list[int])

    async def score(
        self, run: Run, position: int, items: Sequence[SavedItem], answers: SavedAnswers
    ) -> Scored:
        del run, position, answers
        self.seen.append(len(items))
        return Scored(self.scores.pop(0) if len(self.scores) > 1 else self.scores[0])


class FakeBrain:
    """Knows one gap, and remembers what it is asked and told."""

    def __init__(self) -> None:
        self.announced: dict[str, list[str]] = {}
        self.nudges = 0
        self.asked: list[tuple[str, list[str]]] = []
        self.own: list[int] = []

    async def context(
        self, department: Department, own_ids: Collection[str], previous: Sequence[str]
    ) -> PromptContext:
        self.asked.append((department.slug, list(previous)))
        self.own.append(len(own_ids))
        return PromptContext(gaps=["Nothing on licences."])

    async def announce(self, key: str, department: Department, ids: Sequence[str]) -> None:
        self.announced[key] = [department.slug, *ids]

    def index(self) -> None:
        self.nudges += 1


class Ledger:
    """Keeps decisions by item, and pairs that were told apart."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], list[Decision]] = {}
        self.pairs: set[frozenset[str]] = set()

    async def distinct_pairs(self) -> set[frozenset[str]]:
        return self.pairs

    async def save(
        self,
        run_id: str,
        position: int,
        department: Department,
        items: Sequence[SavedItem],
        decisions: Sequence[Decision],
        *,
        iteration: int,
    ) -> None:
        self.describe(run_id, position, department, items, decisions, iteration=iteration)

    def describe(
        self,
        run_id: str,
        position: int,
        department: Department,
        items: Sequence[SavedItem],
        decisions: Sequence[Decision],
        *,
        iteration: int,
    ) -> Insert:
        del run_id, department
        assert len(items) == len(decisions)
        self.kept.setdefault((position, iteration), list(decisions))
        return Insert("kept_here", [{"_id": f"{position}:{iteration}"}])


@pytest.fixture
async def build(tmp_path: Path) -> AsyncGenerator[Callable[..., StoredDeps]]:
    documents, content = EmbeddedDocuments(tmp_path), EmbeddedContent(tmp_path, PROJECT)
    await documents.open()
    await content.open()

    def make(chat: ChatModel | None = None, **parts: Any) -> StoredDeps:
        clock = parts.pop("clock", None)
        deps = make_deps(documents, content, chat or MockChat())
        if clock is not None:
            deps = replace(deps, runs=GatherRuns(documents, clock=Clock(clock)))
        return replace(deps, **parts)

    yield make
    await content.close()
    await documents.close()


async def begin(deps: StoredDeps, source: FakeDepartments | None = None) -> Run:
    run = await deps.runs.open(ORDER, source or three_departments(), holder_ended)
    run, reason = await find_verdict(deps, run, 0)
    assert reason is None
    return run


async def test_three_departments_are_worked_to_their_end(build: Callable[..., StoredDeps]):
    deps = build(decisions=(ledger := Ledger()), brain=(brain := FakeBrain()))
    run, report = await work_run(deps, ORDER, three_departments())
    assert report.status == "completed"
    assert report.iterations == run.progress.iterations <= 6
    assert [row.department for row in report.summary] == ["legal", "support", "finance"]
    legal, support, finance = run.progress.departments
    assert legal.reason == StopReason.MAX_ITERATIONS_REACHED
    assert len(legal.iterations) == 4, "one is left to each of the others"
    assert support.reason == StopReason.THRESHOLD_REACHED
    assert finance.iterations
    assert report.departments_processed == 3

    saved = [
        item for slug in ("legal", "support", "finance") for item in deps.items.of_department(slug)
    ]
    assert report.items_created == len(saved) == sum(row.items_created for row in report.summary)
    announced = [item_id for _, *ids in brain.announced.values() for item_id in ids]
    assert sorted(announced) == sorted(item.id for item in saved)
    assert {slug for slug, *_ in brain.announced.values()} == {"legal", "support", "finance"}
    assert brain.nudges == len(brain.announced)
    assert brain.own[0] == 0
    assert max(brain.own) > 0
    assert brain.asked[-1] == ("finance", ["legal", "support"])
    decisions = [decision for batch in ledger.kept.values() for decision in batch]
    assert sum(decision.is_kept for decision in decisions) == len(saved)
    assert len(ledger.kept) == report.iterations
    for item in saved:
        assert item.automation is not None
        assert (item.user_id, item.automation.mock, item.automation.run_id) == (
            "user-1",
            True,
            "run-1",
        )
        assert item.automation.model == "mock-llm"


async def test_a_run_on_mongodb_comes_to_the_same(
    build: Callable[..., StoredDeps], mongodb_uri: str
):
    run, report = await work_run(build(), ORDER, three_departments())
    project_id = f"test-{uuid.uuid4().hex}"
    # One database for all: a run's own state may lie anywhere.
    content = MongoContent(mongodb_uri, project_id)
    await content.open()
    there, other = await work_run(
        make_deps(content, content, MockChat(), project_id),
        replace(ORDER, project_id=project_id),
        three_departments(),
    )
    await content.close()
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        await client.drop_database(database_of(project_id))
    assert there.progress == run.progress
    timeless = {"processing_time_ms"}
    assert other.model_dump(exclude=timeless) == report.model_dump(exclude=timeless)


async def test_a_second_run_goes_on_over_what_the_first_has_saved(build: Callable[..., StoredDeps]):
    _, first = await work_run(build(), ORDER, three_departments())
    order = replace(ORDER, run_id="run-2")
    run, second = await work_run(build(), order, three_departments())
    support = run.progress.departments[1]
    assert (support.reason, support.iterations) == (StopReason.THRESHOLD_REACHED, ())
    assert second.summary[1].quality_score == first.summary[1].quality_score
    assert second.summary[1].items_created == 0


async def test_batches_of_a_second_run_differ_from_those_of_the_first(
    build: Callable[..., StoredDeps],
):
    await work_run(build(), replace(ORDER, max_iterations=3), three_departments())
    order = replace(ORDER, run_id="run-2", max_iterations=3)
    run, _ = await work_run(build(), order, three_departments())
    legal = run.progress.departments[0]
    assert legal.iterations
    assert all(iteration.kept > iteration.generated / 2 for iteration in legal.iterations)


@pytest.mark.parametrize("loss", ["is_lost", "loses_answers"])
async def test_a_store_that_is_lost_costs_an_attempt_and_nothing_else(tmp_path: Path, loss: str):
    documents, content = LosableDocuments(tmp_path), EmbeddedContent(tmp_path, PROJECT)
    await documents.open()
    await content.open()

    class Unlucky(FlakyChat):
        async def complete(self, request: ChatRequest) -> Completion:
            answer = await super().complete(request)
            if len(self.prompts) == 3:
                setattr(documents, loss, True)
            return answer

    chat = Unlucky()
    with pytest.raises(Unavailable, match="store"):
        await work_run(make_deps(documents, content, chat), ORDER, three_departments())
    setattr(documents, loss, False)
    deps = make_deps(documents, content, chat)
    run, report = await work_run(deps, ORDER, three_departments())
    assert report.status == "completed"
    iterations = [done for department in run.progress.departments for done in department.iterations]
    saved = [item_id for done in iterations for item_id in done.item_ids]
    assert report.items_created == len(saved) == len(set(saved))
    # The answer on its way when the store went is paid for again, and none that was kept.
    again = 1 if loss == "is_lost" else 0
    assert len(chat.prompts) == report.iterations + again
    await content.close()
    await documents.close()


async def test_what_a_model_is_asked_names_its_sources(build: Callable[..., StoredDeps]):
    chat = FlakyChat()
    deps = build(chat, brain=FakeBrain())
    await work_run(deps, replace(ORDER, max_iterations=4), three_departments())
    blocks = [read_quoted(prompt) for prompt in chat.prompts]
    assert "Nothing on licences." in json.dumps(blocks[0])
    assert all("item:" not in json.dumps(block) for block in blocks[:1])
    assert "item:" in json.dumps(blocks[1]) or "existing" in json.dumps(blocks[1])
    assert "Legal:" in json.dumps(blocks[-1])


async def test_items_are_announced_before_they_are_saved(build: Callable[..., StoredDeps]):
    class Witness(FakeBrain):
        async def announce(self, key: str, department: Department, ids: Sequence[str]) -> None:
            await super().announce(key, department, ids)
            seen.append(0 if deps.items.index is None else len(deps.items.index))

    seen: list[int] = []
    deps = build(brain=(brain := Witness()))
    run = await work(deps, await begin(deps), 0)
    (done,) = run.progress.departments[0].iterations
    assert seen == [0]
    assert brain.announced == {f"{run.id}:0:1": ["legal", *done.item_ids]}


async def test_a_generation_that_comes_to_nothing_counts_as_an_iteration(
    build: Callable[..., StoredDeps],
):
    deps = build(ScriptedChat("no JSON", "none either", "nor here"), scorer=Scores([10.0]))
    run = await work(deps, await begin(deps), 0)
    (done,) = run.progress.departments[0].iterations
    assert (done.failure, done.generated, done.kept, done.item_ids) == ("not_json", 0, 0, ())
    assert done.score == 10.0


async def test_a_department_that_cannot_be_written_for_counts_its_iteration(
    build: Callable[..., StoredDeps],
):
    refused = InvalidTask("content_refused", "the filter says no")
    deps = build(FlakyChat(refused))
    run = await work(deps, await begin(deps), 0)
    assert run.progress.departments[0].iterations[0].failure == "content_refused"


async def test_a_model_that_does_not_exist_fails_the_run(build: Callable[..., StoredDeps]):
    missing = InvalidTask("model_not_found", "no such model")
    deps = build(FlakyChat(missing))
    run = await begin(deps)
    with pytest.raises(InvalidTask, match="no such model"):
        await work(deps, run, 0)
    assert (await deps.runs.load("run-1")).progress.iterations == 0


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ("BUDGET_USD_PER_DAY", StopReason.COST_BUDGET),
        ("BUDGET_TOKENS_PER_RUN", StopReason.TOKEN_BUDGET),
    ],
)
async def test_a_spent_budget_ends_the_department(
    build: Callable[..., StoredDeps], budget: str, reason: StopReason
):
    spent = BudgetExceeded(budget, Decimal(1), Decimal(1), Decimal(1), None)
    deps = build(FlakyChat(spent))
    run = await work(deps, await begin(deps), 0)
    assert run.progress.departments[0].reason == reason
    assert (await deps.runs.load("run-1")).progress.position == 1


async def test_a_spent_budget_ends_every_department_as_completed(build: Callable[..., StoredDeps]):
    async def spent(run_id: str) -> Sequence[BudgetUsage]:
        del run_id
        return [BudgetUsage("BUDGET_TOKENS_PER_RUN", 10, 10, None)]

    scorer = Scores([10.0])
    deps = build(budgets=spent, scorer=scorer)
    run, report = await work_run(deps, ORDER, three_departments())
    assert not scorer.seen, "a judge would have to be paid"
    assert {department.reason for department in run.progress.departments} == {
        StopReason.TOKEN_BUDGET
    }
    assert (report.status, report.iterations, report.departments_processed) == ("completed", 0, 0)


async def test_a_rate_limit_is_waited_for(build: Callable[..., StoredDeps]):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    limited = RateLimited("openrouter", NOON + timedelta(seconds=40))
    busy = Unavailable("openrouter", "429", retry_after_s=7.0)
    deps = build(FlakyChat(limited, busy), now=lambda: NOON, sleep=sleep)
    run = await work(deps, await begin(deps), 0)
    assert waits == [40.0, 7.0]
    assert run.progress.iterations == 1


async def test_a_wait_that_is_longer_than_what_is_left_ends_the_attempt(
    build: Callable[..., StoredDeps],
):
    limited = RateLimited("openrouter", NOON + timedelta(seconds=571))
    deps = build(FlakyChat(limited), now=lambda: NOON)
    run = await begin(deps)
    with pytest.raises(RateLimited):
        await work(deps, run, 0)
    resumed = await deps.runs.open(ORDER, three_departments(), holder_ended)
    assert resumed.progress.position == 0, "the run is not over"


@pytest.mark.parametrize("error", [Unavailable("llm", "503"), Refused("llm", 402, "no money")])
async def test_what_waiting_does_not_mend_is_raised(
    build: Callable[..., StoredDeps], error: AletheiaError
):
    deps = build(FlakyChat(error))
    run = await begin(deps)
    with pytest.raises(type(error)):
        await work(deps, run, 0)


async def test_an_attempt_ends_when_its_time_is_over(build: Callable[..., StoredDeps]):
    moments = [0.0]
    deps = build(clock=lambda: moments[0])
    run = await deps.runs.open(ORDER, three_departments(), holder_ended)
    run, reason = await find_verdict(deps, run, 0)
    run = await work(deps, run, 0)
    moments[0] = 570.0
    run, reason = await find_verdict(deps, run, 0)
    assert reason == StopReason.TIME_BUDGET


class SilentChat(MockChat):
    """A model that never answers."""

    async def complete(self, request: ChatRequest) -> Completion:
        del request
        await asyncio.sleep(3600)
        raise AssertionError


async def test_a_model_that_stalls_past_the_time_of_an_attempt_ends_the_department(
    build: Callable[..., StoredDeps],
):
    moments = [0.0]
    deps = build(SilentChat(), clock=lambda: moments[0], grace_s=0.05)
    run = await begin(deps)
    moments[0] = 569.95
    run = await work(deps, run, 0)
    assert run.progress.departments[0].reason == StopReason.TIME_BUDGET
    assert run.progress.iterations == 0


async def test_a_lowered_threshold_is_seen_by_the_next_verdict(build: Callable[..., StoredDeps]):
    deps = build(scorer=Scores([10.0, 50.0]))
    run = await work(deps, await begin(deps), 0)
    _, reason = await find_verdict(deps, run, 0)
    assert reason is None
    await deps.runs.override("run-1", Overrides(thresholds={"legal": 50}))
    run, reason = await find_verdict(deps, run, 0)
    assert reason == StopReason.THRESHOLD_REACHED


async def test_departments_without_an_iteration_left_are_not_scored(
    build: Callable[..., StoredDeps],
):
    scorer = Scores([10.0])
    order = replace(ORDER, max_iterations=1)
    run, report = await work_run(build(scorer=scorer), order, three_departments())
    reasons = [department.reason for department in run.progress.departments]
    assert reasons[1:] == [StopReason.NO_ITERATIONS_LEFT] * 2
    assert len(scorer.seen) == 2
    assert [row.quality_score for row in report.summary] == [10.0, None, None]
    assert report.departments_processed == 1


async def test_a_batch_that_stayed_short_is_the_same_in_a_second_pass(
    build: Callable[..., StoredDeps],
):
    class DyingScores(Scores):
        async def score(
            self, run: Run, position: int, items: Sequence[SavedItem], answers: SavedAnswers
        ) -> Scored:
            del items, answers
            if run.progress.departments[position].first_score is not None and self.scores:
                self.scores.clear()
                raise Unavailable("store", "lost")
            return Scored(1.0)

    short = items_text(3)
    chat = ScriptedChat(short, Unavailable("scripted", "503"))
    deps = build(chat, scorer=DyingScores([1.0]))
    run = await begin(deps)
    with pytest.raises(Unavailable, match="lost"):
        await work(deps, run, 0)
    run = await work(deps, await deps.runs.open(ORDER, three_departments(), holder_ended), 0)
    (done,) = run.progress.departments[0].iterations
    assert (done.generated, len(done.item_ids)) == (3, 3)
    assert len(chat.requests) == 2, "nothing was asked for again"


async def test_what_a_score_rests_on_is_kept(build: Callable[..., StoredDeps], tmp_path: Path):
    deps = build()
    await work(deps, await begin(deps), 0)
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    rows = await documents.find(QUALITY, {"run_id": "run-1"}, sort="iteration")
    await documents.close()
    assert [row["iteration"] for row in rows] == [0, 1]
    assert set(rows[1]["quality"]["parts"]) == {"coverage", "depth", "coherence", "actionability"}


def judging(score: float) -> Callable[[Any], object]:
    part = {"score": score, "reason": "because"}
    names = ("coverage", "depth", "coherence", "actionability")
    return lambda _: dict.fromkeys(names, part)


async def test_a_judge_remembers_its_rounds_from_one_department_to_the_next(
    build: Callable[..., StoredDeps],
):
    chat = FlakyChat(writers={JUDGE_FORM.name: judging(50)})
    low = {"coordination_settings": {"min_quality_threshold": 90}}
    source = FakeDepartments(
        [make_department("legal", 1, **low), make_department("support", 2, **low)]
    )
    deps = build(chat, scorer=QualityScorer(QualityCounter(None), chat, AskPlan("judge")))
    run, _ = await work_run(deps, ORDER, source)
    rounds = [
        notes["judge"]["rounds"]
        for department in run.progress.departments
        for notes in department.notes
    ]
    assert rounds == sorted(rounds), "they are counted over the whole run"
    assert rounds[-1] >= 1
