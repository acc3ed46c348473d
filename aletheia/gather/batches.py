"""The batch of an iteration: what it is written from, its items, and which of them are new.

What was saved of a batch before a crash is neither asked for nor decided again (SPEC §4).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter

from aletheia.brain.context import sum_up
from aletheia.errors import BudgetExceeded, Deferred, InvalidTask, Unavailable
from aletheia.gather.errors import TimeIsUp
from aletheia.gather.generation import (
    FIRST_STEP,
    MODEL_FAULTS,
    Batch,
    GenerationPlan,
    generate_items,
)
from aletheia.gather.knowledge import Knowledge
from aletheia.gather.progress import Run, StopReason
from aletheia.gather.prompts.generate_items import PromptContext
from aletheia.gather.runs import GatherRuns
from aletheia.gather.scoring import QualityScorer
from aletheia.items.content import Automation, Item, SavedItem, item_id, make_item
from aletheia.items.decisions import ProjectDecisions
from aletheia.items.dedup import Decision, Deduplicator, Judge
from aletheia.items.item_index import ItemIndex, make_entry
from aletheia.items.project_items import ProjectItems
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.messages import ChatModel, Fault
from aletheia.llm.structured import MAX_ERROR_CHARS
from aletheia.llm.usage import BudgetUsage
from aletheia.store.clock import SYSTEM_CLOCK, moment
from aletheia.text.language import LanguageGuess
from aletheia.text.normalisation import content_hash

log = logging.getLogger(__name__)

MAX_QUOTED: Final = 200
"""Items of a department that a prompt may choose from, newest first."""

GRACE_S: Final = 10.0
"""How much longer than its time an attempt may wait for a generation, seconds; the rest of the
600 s that Prefect allows is for saving, scoring and closing (SPEC §4, Time)."""

_BATCH_STEP: Final = "batch"
_DEDUP_STEP: Final = "dedup"

STEPS: Final = (_BATCH_STEP, FIRST_STEP, _DEDUP_STEP)
"""What an iteration saves in any case, and finds where it was begun before."""
_BATCH: Final[TypeAdapter[Batch]] = TypeAdapter(Batch)  # leaves out what older rows have more


@dataclass(frozen=True, slots=True)
class GatherDeps:
    """What the steps of a gather run work with."""

    runs: GatherRuns
    items: ProjectItems
    chat: ChatModel
    plan: GenerationPlan
    deduplicator: Deduplicator
    scorer: QualityScorer
    budgets: Callable[[str], Awaitable[Sequence[BudgetUsage]]]
    judge: Judge | None  # `None`: pairs that a judge would decide are decided by their similarity
    decisions: ProjectDecisions
    brain: Knowledge
    language_of: LanguageGuess
    now: Callable[[], datetime] = lambda: moment(SYSTEM_CLOCK.now())  # the time, in UTC
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep  # waits for some seconds
    grace_s: float = GRACE_S


async def read_context(deps: GatherDeps, run: Run, position: int) -> PromptContext:
    """Read what a prompt may quote of saved items, the Brain and earlier departments."""
    await deps.items.refresh()
    department = run.progress.departments[position].department
    before = run.progress.departments[:position]
    own = deps.items.of_department(department.slug)
    slugs = [earlier.department.slug for earlier in before]
    notes = await deps.brain.context(department, {item.id for item in own}, slugs)
    return replace(
        notes,
        existing=[item.content for item in reversed(own[-MAX_QUOTED:])],
        earlier=[
            sum_up(earlier.department.name, deps.items.of_department(earlier.department.slug)[::-1])
            for earlier in reversed(before)
            if earlier.is_processed
        ],
    )


async def write_batch(
    deps: GatherDeps, run: Run, position: int, context: PromptContext, answers: SavedAnswers
) -> Batch:
    """Generate a batch, waiting for limits as long as this attempt has time.

    `answers`: those saved for the iteration.

    Raises:
        BudgetExceeded: a budget does not suffice.
        TimeIsUp: the time of this attempt was over before the model had answered.
        Deferred: the wait would be longer than what is left; the attempt's end is stored.
        Unavailable: the same, or the model is out of reach.
        AletheiaError: the model cannot be used as things are set.
    """
    progress = run.progress.departments[position]
    saved = await answers.find_values(_BATCH_STEP)
    if saved is not None:
        return _BATCH.validate_python(saved)
    try:
        batch = await _generate(deps, run, position, context, answers)
    except InvalidTask as fault:
        # Neither another model nor a setting would help: it is about the department's own words.
        if fault.code in MODEL_FAULTS:
            raise
        failure = Fault(fault.code, str(fault)[:MAX_ERROR_CHARS])
        model = progress.department.default_model or deps.plan.default_model
        batch = Batch((), (failure,), model, is_mock=deps.chat.is_mock, rounds=0)
    # A second pass must not decide anew: a repair that failed now may succeed then.
    saved = await answers.save_values(_BATCH_STEP, _BATCH.dump_python(batch, mode="json"))
    return _BATCH.validate_python(saved)


async def drop_duplicates(
    deps: GatherDeps, run: Run, position: int, batch: Batch, answers: SavedAnswers
) -> tuple[Item, ...]:
    """Return the items of a batch that repeat nothing, in its order; saved decisions stand."""
    if not batch.items:
        return ()
    progress = run.progress.departments[position]
    number = len(progress.iterations) + 1
    items = make_items(deps, run, position, batch, batch.items)
    about = run.id, position, progress.department, items
    saved = await answers.find_values(_DEDUP_STEP)
    if saved is None:
        decisions = await _deduplicate(deps, batch)
        described = deps.decisions.describe(*about, decisions, iteration=number)
        # Saved before the items are: afterwards each would be a duplicate of itself.
        values = [asdict(decision) for decision in decisions]
        if await answers.add_values(_DEDUP_STEP, values, described):
            return _list_kept(batch, decisions)
        saved = await answers.find_values(_DEDUP_STEP)
    decisions = [Decision(**values) for values in saved]
    await deps.decisions.save(*about, decisions, iteration=number)
    return _list_kept(batch, decisions)


def _list_kept(batch: Batch, decisions: Sequence[Decision]) -> tuple[Item, ...]:
    pairs = zip(batch.items, decisions, strict=True)
    return tuple(item for item, decision in pairs if decision.is_kept)


async def _generate(
    deps: GatherDeps, run: Run, position: int, context: PromptContext, answers: SavedAnswers
) -> Batch:
    progress = run.progress.departments[position]
    # Points of view go on where those of earlier runs ended.
    origins = [item.automation for item in deps.items.of_department(progress.department.slug)]
    earlier = {(made.run_id, made.iteration) for made in origins if made and made.run_id != run.id}
    number = len(earlier) + len(progress.iterations) + 1
    while True:
        bound = asyncio.timeout(deps.runs.time_left_s(run) + deps.grace_s)
        try:
            async with bound:
                return await generate_items(
                    deps.chat,
                    answers,
                    progress.department,
                    number,
                    context,
                    plan=deps.plan,
                    language_of=deps.language_of,
                )
        except TimeoutError:
            if not bound.expired():
                raise
            raise TimeIsUp(run.id) from None
        except BudgetExceeded:
            raise
        except (Deferred, Unavailable) as deferred:
            wait_s = deferred.retry_after_s
            if isinstance(deferred, Deferred) and deferred.until is not None:
                wait_s = max(0.0, (deferred.until - deps.now()).total_seconds())
            if wait_s is None:
                raise
            if wait_s > deps.runs.time_left_s(run):
                await deps.runs.end_attempt(run, StopReason.RATE_LIMITED)
                raise
            log.warning("[AutoGather] Rate limited: %s; waits %.0f s", deferred, wait_s)
            await deps.sleep(wait_s)


async def _deduplicate(deps: GatherDeps, batch: Batch) -> list[Decision]:
    contents = [item.content for item in batch.items]
    vectors, faults = await deps.items.embed_each(contents)
    dropped: dict[int, Decision] = {}
    for place, fault in faults.items():
        reason = f"it cannot be compared, as it cannot be embedded: {fault}"[:MAX_ERROR_CHARS]
        name = item_id(contents[place])
        dropped[place] = Decision(name, False, "embedding", deps.items.model, reason)
    if not vectors:
        return [dropped[place] for place in sorted(dropped)]
    index = deps.items.index
    if index is None:
        index = ItemIndex(deps.items.model, next(iter(vectors.values())).shape[0])
    distinct = await deps.decisions.distinct_pairs()
    new = [
        make_entry(item_id(contents[place]), contents[place], vectors[place], index.dimensions)
        for place in sorted(vectors)
    ]
    taken = iter(await deps.deduplicator.deduplicate(new, index, deps.judge, distinct=distinct))
    return [dropped[place] if place in dropped else next(taken) for place in range(len(contents))]


def make_items(
    deps: GatherDeps, run: Run, position: int, batch: Batch, items: Sequence[Item]
) -> list[SavedItem]:
    """Turn items of a batch into what is saved of them."""
    progress = run.progress.departments[position]
    created_at = deps.now()
    return [
        make_item(
            item,
            Automation(
                run_id=run.id,
                iteration=len(progress.iterations) + 1,
                department=progress.department.slug,
                department_number=progress.department.code_dep_number,
                model=batch.model,
                quality_at_creation=progress.score,
                content_hash=content_hash(item.content),
                mock=batch.is_mock,
            ),
            run.user_id,
            created_at,
        )
        for item in items
    ]
