"""The steps of an iteration, one function each (SPEC §4).

Each step takes the run and the department's position, and reads everything else from where it is
stored, so that it can be repeated after a crash: a saved answer is not asked for again, a saved
decision is not taken again, items are saved by their content, and an iteration is recorded once.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter

from aletheia.brain.context import sum_up
from aletheia.errors import AletheiaError, BudgetExceeded, Deferred, InvalidTask, Unavailable
from aletheia.gather.deps import GatherDeps
from aletheia.gather.errors import TimeIsUp
from aletheia.gather.generation import MODEL_FAULTS, generate_items
from aletheia.gather.models import Batch, PromptContext, Run
from aletheia.gather.ports import BrainNotes, Scored
from aletheia.gather.progress import (
    DepartmentProgress,
    Iteration,
    StopReason,
    allowance,
    find_outer_reason,
    is_given_up,
    stop_reason,
)
from aletheia.items.content import Automation, SavedItem, item_id, make_item
from aletheia.items.decisions import BatchOrigin
from aletheia.items.departments import Department
from aletheia.items.duplicates import Decision, NewItem
from aletheia.items.item_index import ItemIndex
from aletheia.items.models import Item
from aletheia.llm.answers import AnswerLog
from aletheia.llm.faults import Fault
from aletheia.llm.quoting import Excerpt
from aletheia.llm.structured import MAX_ERROR_CHARS
from aletheia.text.normalisation import content_hash

log = logging.getLogger(__name__)

MAX_QUOTED: Final = 200
"""Items of a department that a prompt may choose from, newest first."""

_BATCH_STEP: Final = "batch"
_DEDUP_STEP: Final = "dedup"
_BATCH: Final[TypeAdapter[Batch]] = TypeAdapter(Batch)


async def find_verdict(deps: GatherDeps, run: Run, position: int) -> tuple[Run, StopReason | None]:
    """Find out whether a department stops, with current overrides and budgets.

    Scores the department first if it has no score yet and an iteration may begin.

    Returns:
        The run as it is now, and the reason, which is stored; `None` to go on.
    """
    run = await deps.runs.refresh(run)
    progress = run.progress.departments[position]
    if progress.reason is not None:
        return run, progress.reason
    outer = find_outer_reason(
        await deps.budgets(run.id),
        is_cancelled=run.is_cancel_requested,
        is_time_spent=deps.runs.time_left_s(run) <= 0,
    )
    is_over = (
        outer is not None
        or not allowance(run.progress, position)
        or is_given_up(run.progress, position)
    )
    if progress.first_score is None and not is_over:
        await deps.items.refresh()
        scored = await _score(deps, run, position, 0)
        run = await deps.runs.start_department(run, position, scored.score, scored.notes)
    reason = stop_reason(run.progress, position, outer)
    if reason is not None:
        run = await deps.runs.finish_department(run, position, reason)
    return run, reason


async def read_context(deps: GatherDeps, run: Run, position: int) -> PromptContext:
    """Read what a prompt may quote of saved items, the Brain and earlier departments."""
    await deps.items.refresh()
    department = run.progress.departments[position].department
    before = run.progress.departments[:position]
    own = deps.items.of_department(department.slug)
    notes = BrainNotes()
    if deps.brain is not None:
        slugs = [earlier.department.slug for earlier in before]
        notes = await deps.brain.context(department, {item.id for item in own}, slugs)
    return PromptContext(
        existing=[Excerpt(f"item:{item.id}", item.content) for item in reversed(own[-MAX_QUOTED:])],
        gaps=notes.gaps,
        brain=notes.items,
        earlier=[
            Excerpt(f"department:{earlier.department.slug}", _sum_up(deps, earlier.department))
            for earlier in reversed(before)
            if earlier.is_processed
        ],
    )


async def write_batch(deps: GatherDeps, run: Run, position: int, context: PromptContext) -> Batch:
    """Generate a batch, waiting for limits as long as this attempt has time.

    A saved batch is returned again, also one without items.

    Raises:
        BudgetExceeded: a budget has no room.
        TimeIsUp: the time of this attempt was over before the model had answered.
        Deferred: the wait would be longer than what is left; the attempt's end is stored.
        Unavailable: the same, or the model is out of reach.
        AletheiaError: the model cannot be used as things are set.
    """
    progress = run.progress.departments[position]
    answers = deps.runs.answers(run, position, len(progress.iterations) + 1)
    saved = await answers.find_values(_BATCH_STEP)
    if saved is not None:
        return _BATCH.validate_python(saved)
    try:
        batch = await _generate(deps, run, position, context, answers)
    except InvalidTask as fault:
        # Neither another model nor a setting would help: it is about the department's own words.
        if fault.code in MODEL_FAULTS:
            raise
        batch = _failed_batch(deps, progress.department, fault)
    # A second pass must not decide anew: a repair that failed now may succeed then.
    saved = await answers.save_values(_BATCH_STEP, _BATCH.dump_python(batch, mode="json"))
    return _BATCH.validate_python(saved)


def reason_of(spent: BudgetExceeded | TimeIsUp) -> StopReason:
    """Return why a department is done for which nothing more can be generated."""
    if isinstance(spent, TimeIsUp):
        return StopReason.TIME_BUDGET
    return StopReason.COST_BUDGET if "_USD_" in spent.budget else StopReason.TOKEN_BUDGET


async def drop_duplicates(
    deps: GatherDeps, run: Run, position: int, batch: Batch
) -> tuple[Item, ...]:
    """Return the items of a batch that repeat nothing, in its order; saved decisions stand."""
    if not batch.items:
        return ()
    progress = run.progress.departments[position]
    number = len(progress.iterations) + 1
    answers = deps.runs.answers(run, position, number)
    saved = await answers.find_values(_DEDUP_STEP)
    if saved is None:
        taken = await _deduplicate(deps, batch)
        # Saved before the items are: afterwards each would be a duplicate of itself.
        saved = await answers.save_values(_DEDUP_STEP, [asdict(decision) for decision in taken])
    decisions = [Decision(**values) for values in saved]
    if deps.decisions is not None:
        items = _make_items(deps, run, position, batch, batch.items)
        origin = BatchOrigin(run.id, position, number, progress.department)
        await deps.decisions.save(origin, items, decisions)
    pairs = zip(batch.items, decisions, strict=True)
    return tuple(item for item, decision in pairs if decision.is_kept)


async def save_items(
    deps: GatherDeps, run: Run, position: int, batch: Batch, fresh: Sequence[Item]
) -> list[SavedItem]:
    """Save what is left of a batch, and announce it to the Brain.

    Returns:
        The items that this iteration has made.
    """
    items = _make_items(deps, run, position, batch, fresh)
    if deps.brain is None or not items:
        return await deps.items.save(items)
    progress = run.progress.departments[position]
    key = f"{run.id}:{position}:{len(progress.iterations) + 1}"
    await deps.brain.announce(key, progress.department, [item.id for item in items])
    saved = await deps.items.save(items)
    deps.brain.index()
    return saved


async def score_department(
    deps: GatherDeps,
    run: Run,
    position: int,
    batch: Batch,
    *,
    fresh: Sequence[Item],
    saved: Sequence[SavedItem],
) -> Run:
    """Score a department after an iteration, and record the iteration."""
    number = len(run.progress.departments[position].iterations) + 1
    scored = await _score(deps, run, position, number)
    done = Iteration(
        number=number,
        generated=len(batch.items),
        kept=len(fresh),
        item_ids=tuple(item.id for item in saved),
        score=scored.score,
        failure="" if batch.failure is None else batch.failure.code,
        failure_message="" if batch.failure is None else batch.failure.message,
        notes=scored.notes,
    )
    return await deps.runs.record(run, position, done)


async def _generate(
    deps: GatherDeps, run: Run, position: int, context: PromptContext, answers: AnswerLog
) -> Batch:
    progress = run.progress.departments[position]
    while True:
        bound = asyncio.timeout(deps.runs.time_left_s(run) + deps.grace_s)
        try:
            async with bound:
                return await generate_items(
                    deps.chat,
                    answers,
                    progress.department,
                    _count_earlier(deps, run, progress) + len(progress.iterations) + 1,
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
        except (Deferred, Unavailable) as deferred:
            wait_s = _wait_of(deferred, deps.now())
            if wait_s is None:
                raise
            if wait_s > deps.runs.time_left_s(run):
                await deps.runs.end_attempt(run, StopReason.RATE_LIMITED)
                raise
            log.warning("[AutoGather] Rate limited: %s; waits %.0f s", deferred, wait_s)
            await deps.sleep(wait_s)


def _count_earlier(deps: GatherDeps, run: Run, progress: DepartmentProgress) -> int:
    """Count the batches of earlier runs, so that points of view go on where those ended."""
    origins = [item.automation for item in deps.items.of_department(progress.department.slug)]
    return len(
        {(made.run_id, made.iteration) for made in origins if made and made.run_id != run.id}
    )


def _wait_of(deferred: Deferred | Unavailable, now: datetime) -> float | None:
    """Return how long generation has to wait, seconds; `None` if that is not known."""
    if isinstance(deferred, Unavailable):
        return deferred.retry_after_s
    return None if deferred.until is None else max(0.0, (deferred.until - now).total_seconds())


def _failed_batch(deps: GatherDeps, department: Department, fault: InvalidTask) -> Batch:
    asked = department.default_model or deps.plan.default_model
    return Batch(
        items=(),
        faults=(Fault(fault.code, str(fault)[:MAX_ERROR_CHARS]),),
        model=asked,
        asked=asked,
        provider=deps.chat.provider,
        is_mock=deps.chat.is_mock,
        rounds=0,
    )


async def _deduplicate(deps: GatherDeps, batch: Batch) -> list[Decision]:
    contents = [item.content for item in batch.items]
    vectors, faults = await deps.items.embed_each(contents)
    dropped = {
        place: _drop_unembedded(deps, contents[place], fault) for place, fault in faults.items()
    }
    if not vectors:
        return [dropped[place] for place in sorted(dropped)]
    index = deps.items.index
    if index is None:
        index = ItemIndex(deps.items.model, next(iter(vectors.values())).shape[0])
    distinct = frozenset[frozenset[str]]()
    if deps.decisions is not None:
        distinct = await deps.decisions.distinct_pairs()
    new = [
        NewItem(item_id(contents[place]), contents[place], vectors[place])
        for place in sorted(vectors)
    ]
    taken = iter(await deps.deduplicator.deduplicate(new, index, deps.judge, distinct=distinct))
    return [dropped[place] if place in dropped else next(taken) for place in range(len(contents))]


def _drop_unembedded(deps: GatherDeps, content: str, fault: AletheiaError) -> Decision:
    return Decision(
        item_id=item_id(content),
        is_kept=False,
        tier="embedding",
        match_id=None,
        is_match_saved=False,
        score=None,
        cosine=None,
        model=deps.items.model,
        judge="",
        difference=None,
        reason=f"it cannot be compared, as it cannot be embedded: {fault}"[:MAX_ERROR_CHARS],
    )


def _make_items(
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


async def _score(deps: GatherDeps, run: Run, position: int, number: int) -> Scored:
    items = deps.items.of_department(run.progress.departments[position].department.slug)
    answers = deps.runs.answers(run, position, number)
    scored = await deps.scorer.score(run, position, items, answers)
    await deps.runs.save_quality(run, position, number, scored.details)
    return scored


def _sum_up(deps: GatherDeps, earlier: Department) -> str:
    newest = deps.items.of_department(earlier.slug)[::-1]
    return sum_up(earlier.name, newest)
