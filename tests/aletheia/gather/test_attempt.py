"""The steps of an attempt, which flows and crash suites take."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.errors import InvalidTask
from aletheia.events.log import EventLog, SavedEvent
from aletheia.gather.attempt import Attempt, BatchRef
from aletheia.gather.event_derivation import EventEmitter
from aletheia.gather.progress import RunOrder, StopReason
from aletheia.gather.scoring import Scored
from aletheia.items.content import SavedItem
from aletheia.items.decisions import DECISIONS
from aletheia.items.project_items import ProjectItems
from aletheia.items.vector_cache import VectorCache
from tests.aletheia.gather.gather_runner import (
    MODEL,
    PROJECT,
    StoredDeps,
    embed_words,
    holder_ended,
    make_attempt,
    make_deps,
    take_steps,
    three_departments,
)

ORDER = RunOrder("run-1", PROJECT, "user-1", 4)


@dataclass
class StoredRun:
    """A store, and attempts at the run that is in it."""

    directory: Path
    documents: EmbeddedDocuments
    deps: StoredDeps

    async def open(self, notify: Callable[[], object] = lambda: None) -> Attempt:
        """Open the run, or resume it."""
        run = await self.deps.runs.open(ORDER, three_departments(), holder_ended)
        emitter = EventEmitter(EventLog(self.documents), "default-model", notify=notify)
        return Attempt(self.deps, run, emitter)


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncGenerator[StoredRun]:
    documents, content = EmbeddedDocuments(tmp_path), EmbeddedContent(tmp_path, PROJECT)
    await documents.open()
    await content.open()
    yield StoredRun(tmp_path, documents, make_deps(documents, content, MockChat()))
    await content.close()
    await documents.close()


async def test_a_reference_names_the_batch_and_counts_what_each_step_has_left(stored: StoredRun):
    attempt = await stored.open()
    turn = attempt.next_turn()
    assert turn is not None
    assert (turn.run_id, turn.project_id, turn.position) == ("run-1", PROJECT, 0)
    assert await attempt.find_stop_reason(turn) is None
    batch = await attempt.generate_items(turn)
    assert batch is not None
    assert (batch.turn, batch.iteration, batch.items) == (turn, 1, 6)
    fresh = await attempt.drop_duplicates(batch)
    saved = await attempt.save_items(fresh)
    assert 0 < saved.items == fresh.items <= batch.items
    score = await attempt.score_department(saved)
    (iteration,) = attempt.run.progress.departments[0].iterations
    assert (iteration.score, len(iteration.item_ids)) == (score, saved.items)
    assert sorted(await attempt.list_item_ids(turn)) == sorted(iteration.item_ids)


async def begin_batch(stored: StoredRun) -> tuple[Attempt, BatchRef]:
    """Open the run, and write the items of its first iteration."""
    attempt = await stored.open()
    turn = attempt.next_turn()
    assert turn is not None
    await attempt.find_stop_reason(turn)
    batch = await attempt.generate_items(turn)
    assert batch is not None
    return attempt, batch


async def test_a_step_refuses_a_batch_that_is_not_under_way(stored: StoredRun):
    attempt, batch = await begin_batch(stored)
    for other in (
        replace(batch, iteration=2),
        replace(batch, turn=replace(batch.turn, position=1)),
    ):
        with pytest.raises(RuntimeError, match="not the batch under way"):
            await attempt.drop_duplicates(other)
    saved = await attempt.save_items(await attempt.drop_duplicates(batch))
    await attempt.score_department(saved)
    with pytest.raises(RuntimeError, match="not the batch under way"):
        await attempt.score_department(saved)


async def test_items_are_compared_though_the_log_is_slow_but_no_step_ends_before_it(
    stored: StoredRun, monkeypatch: pytest.MonkeyPatch
):
    attempt, batch = await begin_batch(stored)
    may_append, append = asyncio.Event(), EventLog.append

    async def append_late(self: EventLog, *args: Any, **options: Any) -> SavedEvent:
        await may_append.wait()
        return await append(self, *args, **options)

    monkeypatch.setattr(EventLog, "append", append_late)
    step = asyncio.create_task(attempt.drop_duplicates(batch))
    while not await stored.documents.count(DECISIONS, {}):
        await asyncio.sleep(0.005)
    assert not step.done()
    may_append.set()
    await step
    (*_, last) = await EventLog(stored.documents).read(PROJECT)
    assert last.read().type == "deduplicating"


async def test_a_step_that_fails_leaves_no_event_to_be_added_after_it(
    stored: StoredRun, monkeypatch: pytest.MonkeyPatch
):
    attempt, batch = await begin_batch(stored)
    ended: list[str] = []

    async def append_never(*_: Any, **__: Any) -> SavedEvent:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("append")
        raise AssertionError

    async def fail(*_: Any, **__: Any) -> None:
        await asyncio.sleep(0)
        raise InvalidTask("made_to_fail", "made to fail")

    monkeypatch.setattr(EventLog, "append", append_never)
    monkeypatch.setattr(VectorCache, "fill_each", fail)
    with pytest.raises(InvalidTask, match="made to fail"):
        await attempt.drop_duplicates(batch)
    assert ended == ["append"]


async def test_another_attempt_finds_the_batch_that_one_left(stored: StoredRun):
    first = await stored.open()
    turn = first.next_turn()
    assert turn is not None
    await first.find_stop_reason(turn)
    batch = await first.generate_items(turn)
    assert batch is not None
    await first.save_items(await first.drop_duplicates(batch))
    second = await stored.open()
    await second.find_stop_reason(turn)
    assert await second.generate_items(turn) == batch
    await take_steps(second, turn)
    assert len(second.run.progress.departments[0].iterations) == 1


async def test_events_are_added_as_the_run_comes_to_imply_them_and_notified(stored: StoredRun):
    notified = list[int]()
    events = EventLog(stored.documents)
    attempt = await stored.open(lambda: notified.append(1))
    turn = attempt.next_turn()
    assert turn is not None
    await attempt.find_stop_reason(turn)
    await take_steps(attempt, turn)
    types = [event.read().type for event in await events.read(PROJECT)]
    assert types == ["department_started", "deduplicating", "iteration_complete"]
    assert len(notified) == 3


async def test_a_run_is_closed_once(stored: StoredRun):
    events = EventLog(stored.documents)
    attempt = await stored.open()
    while (turn := attempt.next_turn()) is not None:
        while await attempt.find_stop_reason(turn) is None:
            await take_steps(attempt, turn)
        assert attempt.reason_of(turn) is not None
    report = await attempt.close()
    assert report.status == "completed"
    assert attempt.next_turn() is None
    assert await attempt.close() == report
    again = await stored.open()
    assert again.next_turn() is None
    assert await again.close() == report
    ends = [event for event in await events.read(PROJECT) if event.is_last]
    assert len(ends) == 1
    reached = [turn.department for turn in attempt.list_turns(StopReason.THRESHOLD_REACHED)]
    assert reached == ["support", "finance"]


async def test_a_run_that_is_cancelled_in_the_middle_of_a_step_is_closed_as_cancelled(
    stored: StoredRun,
):
    attempt = await stored.open()
    turn = attempt.next_turn()
    assert turn is not None
    await attempt.find_stop_reason(turn)
    await take_steps(attempt, turn)
    report = await attempt.close_cancelled()
    assert (report.status, report.iterations) == ("cancelled", 1)
    assert attempt.next_turn() is None


async def test_an_attempt_logs_what_the_system_it_replaces_logged(
    stored: StoredRun, caplog: pytest.LogCaptureFixture
):
    attempt = await stored.open()
    with caplog.at_level(logging.DEBUG, "aletheia.gather"):
        while (turn := attempt.next_turn()) is not None:
            while await attempt.find_stop_reason(turn) is None:
                await take_steps(attempt, turn)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("INFO", "[AutoGather] Started dept Legal (threshold: 100%)") in lines
    assert ("DEBUG", "[AutoGather] Generated 6 items in iteration 1") in lines
    complete = "[AutoGather] Iteration 1 complete for dept Legal: 6 items, quality "
    assert any(line.startswith(complete) for level, line in lines if level == "INFO")
    assert ("WARNING", "[AutoGather] Max iterations (4) reached in dept Legal") in lines
    started = [line for _, line in lines if "Started dept" in line]
    assert len(started) == len(set(started))


async def test_a_department_that_stagnates_is_warned_of(
    stored: StoredRun, caplog: pytest.LogCaptureFixture
):
    class Constant:
        async def score(self, *_: object) -> Scored:
            return Scored(42.5)

    deps = replace(stored.deps, scorer=Constant())
    order = replace(ORDER, max_iterations=50)
    attempt = make_attempt(deps, await deps.runs.open(order, three_departments(), holder_ended))
    turn = attempt.next_turn()
    assert turn is not None
    while await attempt.find_stop_reason(turn) is None:
        await take_steps(attempt, turn)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "[AutoGather] Quality stagnant at 42.5% for 3 iterations" in warnings


async def test_documents_that_cannot_be_embedded_are_named_and_block_nothing(
    stored: StoredRun, caplog: pytest.LogCaptureFixture
):
    async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        if any("poison" in text for text in texts):
            raise InvalidTask("refused_input", "it is refused")
        return await embed_words(texts)

    content = EmbeddedContent(stored.directory, PROJECT)
    await content.open()
    theirs = [SavedItem(f"theirs-{n}", f"Document {n} of theirs.") for n in range(30)]
    poison = [SavedItem(f"poison-{n}", f"Some poison {n}.") for n in range(25)]
    await content.insert_items([*theirs, *poison])
    items = ProjectItems(content, VectorCache(content, MODEL), embed, MODEL)
    deps = replace(stored.deps, items=items)
    attempt = make_attempt(deps, await deps.runs.open(ORDER, three_departments(), holder_ended))
    turn = attempt.next_turn()
    assert turn is not None
    assert await attempt.find_stop_reason(turn) is None
    await take_steps(attempt, turn)
    await attempt.find_stop_reason(turn)
    assert len(attempt.run.progress.departments[0].iterations) == 1
    warnings = attempt.run.warnings
    assert len(warnings) == 21
    assert warnings[0].startswith("document 'poison-")
    assert warnings[0].endswith("is compared with nothing, as it cannot be embedded: it is refused")
    assert warnings[-1] == "more than 20 documents cannot be embedded"
    assert (await deps.runs.load("run-1")).warnings == warnings
    assert f"[AutoGather] {warnings[0]}" in caplog.text
    await content.close()
