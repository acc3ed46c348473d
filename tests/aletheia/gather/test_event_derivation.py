"""Which events a run's progress implies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.documents import Document
from aletheia.events.log import EventLog
from aletheia.events.models import DepartmentStarted
from aletheia.gather.event_derivation import EventEmitter, deduplicating, list_events
from aletheia.gather.progress import (
    DepartmentProgress,
    GatherReport,
    Iteration,
    Run,
    RunOrder,
    RunProgress,
    StopReason,
)
from tests.aletheia.gather.gather_runner import (
    PROJECT,
    find_verdict,
    holder_ended,
    make_deps,
    three_departments,
    work_iteration,
)
from tests.fakes.departments import make_department


def make_run(*departments: DepartmentProgress, report: GatherReport | None = None) -> Run:
    progress = RunProgress(10, departments)
    return Run("run-1", PROJECT, "user-1", 1, progress, 1, 0.0, 0.0, report=report)


def types_of(run: Run) -> list[str]:
    return [implied.event.type for implied in list_events(run, "default-model")]


LEGAL = DepartmentProgress(make_department("legal", 1), 80.0)


def test_a_run_that_is_cancelled_again_says_so_again():
    report = GatherReport(
        status="cancelled",
        iterations=0,
        departments_processed=0,
        items_created=0,
        processing_time_ms=1,
        summary=(),
    )
    run = make_run(LEGAL, report=report)
    ends = [list_events(replace(run, attempt=n), "m")[-1] for n in (1, 2)]
    assert [(end.event.type, end.iteration) for end in ends] == [
        ("automation_cancelled", 0),
        ("automation_cancelled", 1),
    ]


def test_a_department_that_was_never_scored_has_no_events():
    never = replace(LEGAL, reason=StopReason.NO_ITERATIONS_LEFT)
    assert types_of(make_run(LEGAL)) == types_of(make_run(never)) == []


def test_a_department_that_is_done_before_its_first_iteration_is_begun_and_completed():
    done = replace(LEGAL, first_score=90.0, reason=StopReason.THRESHOLD_REACHED)
    assert types_of(make_run(done)) == ["department_started", "department_complete"]


@pytest.mark.parametrize(
    ("reason", "is_said"),
    [(StopReason.MAX_ITERATIONS_REACHED, True), (StopReason.NO_IMPROVEMENT, False)],
)
def test_spent_iterations_are_said_before_the_department_is_complete(
    reason: StopReason, *, is_said: bool
):
    one = Iteration(1, generated=6, kept=2, item_ids=("a", "b"), score=50.0)
    types = types_of(make_run(replace(LEGAL, first_score=0.0, iterations=(one,), reason=reason)))
    expected = ["department_started", "deduplicating", "iteration_complete"]
    expected += ["max_iterations_reached"] * is_said
    assert types == [*expected, "department_complete"]


def test_an_iteration_without_a_batch_compares_nothing():
    failed = Iteration(1, generated=0, kept=0, item_ids=(), score=0.0, failure="no_items")
    run = make_run(replace(LEGAL, first_score=0.0, iterations=(failed,)))
    assert types_of(run) == ["department_started", "iteration_complete"]


@pytest.mark.parametrize(
    ("model", "said"), [(None, "default-model"), ("their-model", "their-model")]
)
def test_the_model_is_the_departments_own_or_the_default(model: str | None, said: str):
    department = make_department("legal", 1, default_model=model)
    run = make_run(DepartmentProgress(department, 80.0, first_score=0.0))
    (started,) = list_events(run, "default-model")
    assert isinstance(started.event, DepartmentStarted)
    assert (started.event.model, started.department_id) == (said, "id-legal")


async def test_what_is_implied_is_only_added_to_and_a_new_process_emits_nothing_twice(
    tmp_path: Path,
):
    documents, content = EmbeddedDocuments(tmp_path), EmbeddedContent(tmp_path, PROJECT)
    await documents.open()
    await content.open()
    deps = make_deps(documents, content, MockChat())
    events = EventLog(documents)
    run = await deps.runs.open(
        RunOrder("run-1", PROJECT, "user-1", 5), three_departments(), holder_ended
    )
    implied = list_events(run, "default-model")
    while (position := run.progress.position) is not None:
        run, reason = await find_verdict(deps, run, position)
        # As after a kill: nobody knows what was said already.
        await EventEmitter(events, "default-model").emit(run)
        if reason is None:
            emitter = EventEmitter(events, "default-model")
            progress = run.progress.departments[position]
            number = len(progress.iterations) + 1
            await emitter.emit_one(run, deduplicating(PROJECT, progress, number))
            run = await work_iteration(deps, run, position)
            await emitter.emit(run)
        before, implied = implied, list_events(run, "default-model")
        assert implied[: len(before)] == before
    report = await deps.runs.close(run, "completed", await content.count_created(run.id))
    run = replace(run, report=report)
    await EventEmitter(events, "default-model").emit(run)
    assert len(list_events(run, "default-model")) == len(implied) + 1
    kept = [saved.read() for saved in await events.read(PROJECT)]
    assert kept == [implied.event for implied in list_events(run, "default-model")]
    await content.close()
    await documents.close()


async def test_what_was_emitted_ahead_is_in_the_log_once_and_not_searched_for_again(tmp_path: Path):
    documents = CountedFinds(tmp_path)
    await documents.open()
    emitter = EventEmitter(EventLog(documents), "default-model")
    begun = make_run(replace(LEGAL, first_score=0.0))
    await emitter.emit(begun)
    first = deduplicating(PROJECT, LEGAL, 1)
    await emitter.emit_one(begun, first)
    documents.finds = 0
    done = Iteration(1, generated=6, kept=2, item_ids=("a", "b"), score=50.0)
    after = make_run(replace(LEGAL, first_score=0.0, iterations=(done,)))
    await emitter.emit(after)
    assert documents.finds == 1, "for the iteration alone"
    events = [saved.read() for saved in await EventLog(documents).read(PROJECT)]
    assert events == [implied.event for implied in list_events(after, "default-model")]
    await documents.close()


class CountedFinds(EmbeddedDocuments):
    """The embedded store, which counts how often something is looked for."""

    finds = 0

    async def find(self, *args: Any, **options: Any) -> list[Document]:
        self.finds += 1
        return await super().find(*args, **options)
