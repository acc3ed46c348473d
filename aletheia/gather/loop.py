"""The steps of a department's turn, one function each (SPEC §4).

Each step is told the run and the department's position and reads everything else where it is
kept, so that it can be done again after a kill: an answer that is kept is not asked for again, a
decision that is kept is not taken again, items are saved by their content, and an iteration is
written down once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from pydantic import TypeAdapter

from aletheia.brain.index import sum_up
from aletheia.errors import AletheiaError, BudgetExceeded, Deferred, InvalidTask, Unavailable
from aletheia.gather.generation import MODEL_FAULTS, GenerationPlan, generate_items
from aletheia.gather.models import Batch, PromptContext
from aletheia.gather.progress import (
    DepartmentProgress,
    Iteration,
    StopReason,
    allowance,
    stop_reason,
)
from aletheia.gather.runs import GatherRuns, Run
from aletheia.items.content import Automation, ProjectItems, SavedItem, item_id, make_item
from aletheia.items.decisions import BatchOrigin, DecisionLedger
from aletheia.items.dedup import Decision, Deduplicator, Judge, NewItem
from aletheia.items.departments import Department
from aletheia.items.item_index import ItemIndex
from aletheia.items.models import Item
from aletheia.llm.answers import AnswerLog
from aletheia.llm.asking import AskPlan
from aletheia.llm.faults import Fault
from aletheia.llm.ports import ChatModel
from aletheia.llm.quoting import Excerpt
from aletheia.llm.structured import MAX_ERROR_CHARS
from aletheia.llm.usage import BudgetUsage
from aletheia.quality.judge import JudgeState, refine_quality
from aletheia.quality.scores import QualityItem, score_quality
from aletheia.text.language import LanguageGuess
from aletheia.text.normalisation import content_hash

log = logging.getLogger(__name__)

BATCH_STEP: Final = "batch"
DEDUP_STEP: Final = "dedup"
"""Steps of an iteration that are kept beside the answers of models."""

_BATCH: Final[TypeAdapter[Batch]] = TypeAdapter(Batch)

MAX_QUOTED: Final = 200
"""Items of a department that a prompt may choose from, newest first."""

_NOT_MOVED: Final = 0.005
"""Scores are rounded to two digits."""


GRACE_S: Final = 10.0
"""How much longer than its time an attempt may be at a generation, seconds; what is left until
Prefect ends it is for saving, scoring and closing (SPEC §4, Time)."""


class TimeIsUp(AletheiaError):
    """A generation has not ended in the time that an attempt has."""

    code = "time_is_up"

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return "the time of this attempt was over before the model had answered"


@dataclass(frozen=True, slots=True)
class BrainNotes:
    """What the Brain knows of a department.

    Attributes:
        gaps: what it misses.
        items: what else it has.
    """

    gaps: Sequence[Excerpt] = ()
    items: Sequence[Excerpt] = ()


class Brain(Protocol):
    """The index beside the store; while it is out of reach, work goes on without it."""

    async def context(
        self, department: Department, own_ids: Collection[str], previous: Sequence[str]
    ) -> BrainNotes:
        """Tell what it knows; nothing while it is out of reach, and never for long.

        Args:
            department: the department.
            own_ids: of its items, which are known.
            previous: slugs of earlier departments.
        """
        ...

    async def announce(self, key: str, department: Department, ids: Sequence[str]) -> None:
        """Write down that items are about to be saved, so that they are indexed some time.

        Args:
            key: of the iteration; a second time changes nothing.
            department: the department.
            ids: of the items.

        Raises:
            Unavailable: the store is out of reach.
        """
        ...

    def index(self) -> None:
        """Say that what was announced is saved, and go on."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """How good a department is.

    Attributes:
        score: 0 to 100.
        details: what it rests on, as JSON.
        notes: what the next scoring wants to know, as JSON.
    """

    score: float
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Scorer(Protocol):
    """Scores departments."""

    async def score(
        self, run: Run, position: int, items: Sequence[SavedItem], answers: AnswerLog
    ) -> Scored:
        """Score a department over its own saved items, oldest first.

        Args:
            run: with the notes of earlier scorings in its progress.
            position: of the department.
            items: the department's own.
            answers: keeps what models say.
        """
        ...


class QualityScorer:
    """Counts, and asks a judge where one is due.

    Args:
        chat: what judges; `None` leaves it at counting.
        plan: how it is asked.
    """

    def __init__(self, chat: ChatModel | None = None, plan: AskPlan | None = None) -> None:
        self._chat, self._plan = chat, plan

    async def score(
        self, run: Run, position: int, items: Sequence[SavedItem], answers: AnswerLog
    ) -> Scored:
        """See `Scorer.score`."""
        one = run.progress.departments[position]
        rows = [QualityItem(item.id, item.content, item.summary) for item in items]
        counted = score_quality(one.department, rows)
        state = _judge_state(run, position)
        notes: dict[str, Any] = {"counted": counted.total}
        if self._chat is None or self._plan is None:
            return Scored(counted.total, counted.to_document(), notes)
        refined = await refine_quality(
            self._chat,
            answers,
            one.department,
            rows,
            counted,
            threshold=one.threshold,
            stalled_iterations=_stalled([*_counted(one), counted.total]),
            state=state,
            plan=self._plan,
        )
        notes["judge"] = refined.state.to_document()
        return Scored(refined.total, refined.to_document(), notes)


@dataclass(frozen=True, slots=True)
class GatherDeps:
    """What the steps work with.

    Attributes:
        runs: where runs are kept.
        items: those of the project.
        chat: what writes.
        plan: how.
        deduplicator: of the items' embedding model.
        scorer: says how good a department is.
        budgets: tells how the budgets of a run stand.
        judge: decides about pairs in the grey zone.
        decisions: keeps what became of each item.
        brain: the index beside the store.
        language_of: tells whether an item is in the wrong language.
        now: the time, in UTC.
        sleep: waits for some seconds.
        grace_s: see `GRACE_S`.
    """

    runs: GatherRuns
    items: ProjectItems
    chat: ChatModel
    plan: GenerationPlan
    deduplicator: Deduplicator
    scorer: Scorer
    budgets: Callable[[str], Awaitable[Sequence[BudgetUsage]]]
    judge: Judge | None = None
    decisions: DecisionLedger | None = None
    brain: Brain | None = None
    language_of: LanguageGuess | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    grace_s: float = GRACE_S


@dataclass(frozen=True, slots=True)
class FreshItems:
    """What is left of a batch.

    Attributes:
        items: those that repeat nothing, in the batch's order.
        decisions: about all of them, in the batch's order.
    """

    items: tuple[Item, ...]
    decisions: tuple[Decision, ...]


async def find_verdict(deps: GatherDeps, run: Run, position: int) -> tuple[Run, StopReason | None]:
    """Say whether a department stops, by what an operator and the budgets say by now.

    Scores the department if it has not been, and anything may be begun.

    Returns:
        The run as it is now, and the reason, which is written down; `None` to go on.

    Raises:
        LockLost: another attempt is at the run.
    """
    run = await deps.runs.refresh(run)
    known = run.progress.departments[position]
    if known.reason is not None:
        return run, known.reason
    budgets = await deps.budgets(run.id)
    circumstances = deps.runs.circumstances(run, budgets)
    is_over = circumstances.reason is not None or not allowance(run.progress, position)
    if known.first_score is None and not is_over:
        await deps.items.refresh()
        scored = await _score(deps, run, position, 0)
        run = await deps.runs.start_department(run, position, scored.score, scored.notes)
    reason = stop_reason(run.progress, position, circumstances)
    if reason is not None:
        run = await deps.runs.finish_department(run, position, reason)
    return run, reason


async def work_iteration(deps: GatherDeps, run: Run, position: int) -> Run:
    """Generate, deduplicate, save, score and write down.

    Where a budget has no room for it, or time is up, the department is done instead.

    Raises:
        LockLost: another attempt is at the run.
        Deferred: generation has to wait for longer than this attempt may go on.
        AletheiaError: what a model, or a store, cannot be had for.
    """
    context = await read_context(deps, run, position)
    try:
        batch = await write_batch(deps, run, position, context)
    except (BudgetExceeded, TimeIsUp) as spent:
        log.warning("no more is generated: %s", spent)
        return await deps.runs.finish_department(run, position, reason_of(spent))
    fresh = await drop_duplicates(deps, run, position, batch)
    saved = await save_items(deps, run, position, batch, fresh)
    return await score_department(deps, run, position, batch, fresh=fresh, saved=saved)


def reason_of(spent: BudgetExceeded | TimeIsUp) -> StopReason:
    """Say why a department is done for which nothing more can be written."""
    if isinstance(spent, TimeIsUp):
        return StopReason.TIME_BUDGET
    return StopReason.COST_BUDGET if "_USD_" in spent.budget else StopReason.TOKEN_BUDGET


async def read_context(deps: GatherDeps, run: Run, position: int) -> PromptContext:
    """Read what a prompt may tell a model about what is there already."""
    await deps.items.refresh()
    one = run.progress.departments[position]
    before = run.progress.departments[:position]
    own = deps.items.of_department(one.department.slug)
    existing = reversed(own[-MAX_QUOTED:])
    notes = BrainNotes()
    if deps.brain is not None:
        slugs = [earlier.department.slug for earlier in before]
        notes = await deps.brain.context(one.department, {item.id for item in own}, slugs)
    return PromptContext(
        existing=[Excerpt(f"item:{item.id}", item.content) for item in existing],
        gaps=notes.gaps,
        brain=notes.items,
        earlier=[
            Excerpt(f"department:{earlier.department.slug}", _sum_up(deps, earlier))
            for earlier in reversed(before)
            if earlier.is_processed
        ],
    )


async def write_batch(deps: GatherDeps, run: Run, position: int, context: PromptContext) -> Batch:
    """Have a batch written, waiting where that is allowed before this attempt's time is over.

    A batch that is kept is given again, be it one that came to nothing.

    Raises:
        BudgetExceeded: a budget has no room.
        TimeIsUp: the time of this attempt was over before the model had answered.
        Deferred: the wait would be longer than what is left; the attempt's end is written down.
        Unavailable: the same, or the model is out of reach.
        AletheiaError: the model cannot be used as things are set.
    """
    one = run.progress.departments[position]
    number = len(one.iterations) + 1
    steps = deps.runs.answers(run, position, number)
    kept = await steps.find_values(BATCH_STEP)
    if kept is not None:
        return _BATCH.validate_python(kept)
    try:
        batch = await _generate(deps, run, position, context, steps)
    except InvalidTask as fault:
        # Neither another model nor a setting would help: it is about the department's own words.
        if fault.code in MODEL_FAULTS:
            raise
        batch = _fail(deps, one.department, fault)
    # A repair that failed may succeed in a second pass: what is decided is about this one.
    standing = await steps.save_values(BATCH_STEP, _BATCH.dump_python(batch, mode="json"))
    return _BATCH.validate_python(standing)


async def drop_duplicates(deps: GatherDeps, run: Run, position: int, batch: Batch) -> FreshItems:
    """Decide which items of a batch repeat something; a decision that is kept stands."""
    if not batch.items:
        return FreshItems((), ())
    number = len(run.progress.departments[position].iterations) + 1
    steps = deps.runs.answers(run, position, number)
    kept = await steps.find_values(DEDUP_STEP)
    if kept is None:
        decisions = await _deduplicate(deps, batch)
        # Before anything is saved: afterwards an item would repeat itself.
        kept = await steps.save_values(DEDUP_STEP, [asdict(one) for one in decisions])
    decisions = [Decision(**one) for one in kept]
    if deps.decisions is not None:
        items = _make_items(deps, run, position, batch, batch.items)
        department = run.progress.departments[position].department
        origin = BatchOrigin(run.id, position, number, department)
        await deps.decisions.save(origin, items, decisions)
    pairs = zip(batch.items, decisions, strict=True)
    return FreshItems(tuple(item for item, one in pairs if one.is_kept), tuple(decisions))


async def save_items(
    deps: GatherDeps, run: Run, position: int, batch: Batch, fresh: FreshItems
) -> list[SavedItem]:
    """Save what is left of a batch, and see that the Brain indexes it some time.

    Returns:
        The items that this iteration has made.
    """
    one = run.progress.departments[position]
    items = _make_items(deps, run, position, batch, fresh.items)
    if deps.brain is None or not items:
        return await deps.items.save(items)
    key = f"{run.id}:{position}:{len(one.iterations) + 1}"
    await deps.brain.announce(key, one.department, [item.id for item in items])
    saved = await deps.items.save(items)
    deps.brain.index()
    return saved


async def score_department(
    deps: GatherDeps,
    run: Run,
    position: int,
    batch: Batch,
    *,
    fresh: FreshItems,
    saved: Sequence[SavedItem],
) -> Run:
    """Score a department after an iteration, and write the iteration down.

    Raises:
        LockLost: another attempt is at the run.
    """
    number = len(run.progress.departments[position].iterations) + 1
    scored = await _score(deps, run, position, number)
    failure = batch.failure
    done = Iteration(
        number=number,
        generated=len(batch.items),
        kept=len(fresh.items),
        item_ids=tuple(one.id for one in saved),
        score=scored.score,
        failure="" if failure is None else failure.code,
        notes=scored.notes,
    )
    return await deps.runs.record(run, position, done)


async def _generate(
    deps: GatherDeps, run: Run, position: int, context: PromptContext, answers: AnswerLog
) -> Batch:
    one = run.progress.departments[position]
    while True:
        bound = asyncio.timeout(deps.runs.time_left_s(run) + deps.grace_s)
        try:
            async with bound:
                return await generate_items(
                    deps.chat,
                    answers,
                    one.department,
                    _count_earlier(deps, run, one) + len(one.iterations) + 1,
                    context,
                    plan=deps.plan,
                    language_of=deps.language_of,
                )
        except TimeoutError:
            if not bound.expired():
                raise
            raise TimeIsUp from None
        except BudgetExceeded:
            raise
        except (Deferred, Unavailable) as held_up:
            wait_s = _wait_of(held_up, deps.now())
            if wait_s is None:
                raise
            if wait_s > deps.runs.time_left_s(run):
                await deps.runs.end_attempt(run, StopReason.RATE_LIMITED)
                raise
            log.info("generation waits %.0f s: %s", wait_s, held_up)
            await deps.sleep(wait_s)


def _count_earlier(deps: GatherDeps, run: Run, one: DepartmentProgress) -> int:
    """Count the batches of other runs, so that points of view go on where those ended."""
    origins = [item.automation for item in deps.items.of_department(one.department.slug)]
    return len({(of.run_id, of.iteration) for of in origins if of and of.run_id != run.id})


async def _score(deps: GatherDeps, run: Run, position: int, number: int) -> Scored:
    items = deps.items.of_department(run.progress.departments[position].department.slug)
    answers = deps.runs.answers(run, position, number)
    scored = await deps.scorer.score(run, position, items, answers)
    await deps.runs.save_quality(run, position, number, scored.details)
    return scored


def _make_items(
    deps: GatherDeps, run: Run, position: int, batch: Batch, items: Sequence[Item]
) -> list[SavedItem]:
    """Make what is saved of items of a batch."""
    one = run.progress.departments[position]
    created_at = deps.now()
    return [
        make_item(
            item,
            Automation(
                run_id=run.id,
                iteration=len(one.iterations) + 1,
                department=one.department.slug,
                department_number=one.department.code_dep_number,
                model=batch.model,
                quality_at_creation=one.score,
                content_hash=content_hash(item.content),
                mock=batch.is_mock,
            ),
            run.user_id,
            created_at,
        )
        for item in items
    ]


async def _deduplicate(deps: GatherDeps, batch: Batch) -> list[Decision]:
    contents = [item.content for item in batch.items]
    vectors = await deps.items.embed(contents)
    index = deps.items.index
    if index is None:
        index = ItemIndex(deps.items.model, vectors.shape[1])
    distinct = frozenset[frozenset[str]]()
    if deps.decisions is not None:
        distinct = await deps.decisions.distinct_pairs()
    new = [
        NewItem(item_id(content), content, vector)
        for content, vector in zip(contents, vectors, strict=True)
    ]
    return await deps.deduplicator.deduplicate(new, index, deps.judge, distinct=distinct)


def _sum_up(deps: GatherDeps, earlier: DepartmentProgress) -> str:
    """Tell in some sentences what an earlier department has come to."""
    newest = deps.items.of_department(earlier.department.slug)[::-1]
    return sum_up(earlier.department.name, newest)


def _wait_of(held_up: Deferred | Unavailable, now: datetime) -> float | None:
    """Say how long generation has to wait, seconds; `None` if nobody said."""
    if isinstance(held_up, Unavailable):
        return held_up.retry_after_s
    return None if held_up.until is None else max(0.0, (held_up.until - now).total_seconds())


def _fail(deps: GatherDeps, department: Department, fault: InvalidTask) -> Batch:
    """Make a batch of a generation that came to nothing."""
    asked = department.default_model or deps.plan.default_model
    return Batch(
        items=(),
        faults=(Fault(fault.code, str(fault)[:MAX_ERROR_CHARS]),),
        model=asked,
        asked=asked,
        provider=deps.chat.provider,
        is_mock=deps.chat.is_mock,
        is_fallback=False,
        rounds=0,
        tokens_in=0,
        tokens_out=0,
        angle="",
        sources=(),
    )


def _judge_state(run: Run, position: int) -> JudgeState:
    """Find what the last judgement of the run handed on."""
    for place in range(position, -1, -1):
        for notes in reversed(run.progress.departments[place].notes):
            if "judge" in notes:
                state = JudgeState.from_document(notes["judge"])
                return state if place == position else state.for_department()
    return JudgeState()


def _counted(one: DepartmentProgress) -> list[float]:
    return [float(notes["counted"]) for notes in one.notes if "counted" in notes]


def _stalled(counted: Sequence[float]) -> int:
    """Say for how many scorings in a row the last score has not moved."""
    return next(
        (
            steps
            for steps, score in enumerate(reversed(counted[:-1]))
            if abs(score - counted[-1]) > _NOT_MOVED
        ),
        len(counted) - 1,
    )
