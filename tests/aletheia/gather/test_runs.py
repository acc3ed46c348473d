"""Locks, progress and resumes of gather runs (SPEC §4, State and resume)."""

import asyncio
import contextlib
import pickle
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aletheia import metrics
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Document, Documents, Insert, Update
from aletheia.errors import AletheiaError, InvalidTask, Unavailable
from aletheia.gather.errors import LockLost, ProjectBusy, RunOver, RunSuperseded, UnknownRun
from aletheia.gather.progress import Iteration, Run, RunOrder, StopReason, find_outer_reason
from aletheia.gather.project_lock import LOCKS, HolderState
from aletheia.gather.resumption import Overrides
from aletheia.gather.runs import GatherRuns
from aletheia.items.departments import DepartmentList
from aletheia.llm.answers import ANSWERS, purge_answers
from aletheia.llm.messages import Completion
from aletheia.llm.prices import Tokens
from aletheia.llm.structured import MAX_ANSWER_CHARS
from aletheia.llm.usage import BudgetUsage
from aletheia.series import Counters
from aletheia.store.clock import Clock
from tests.aletheia.adapters.documents.conftest import BACKENDS, opened
from tests.fakes.departments import FakeDepartments, make_department
from tests.fakes.documents import InTurnDocuments
from tests.services.fixtures import mongodb_uri

__all__ = ["mongodb_uri"]

ORDER = RunOrder("run-a", "shop", "user-1", 10)
OTHER = RunOrder("run-b", "shop", "user-2", 10)


class UnixTime:
    """A clock that moves when it is set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Prefect:
    """Knows the states of runs."""

    def __init__(self) -> None:
        self.states: dict[str, HolderState] = {}

    async def __call__(self, run_id: str) -> HolderState:
        return self.states.get(run_id, "unknown")


class RunOpener:
    """All it takes to open runs."""

    def __init__(self, documents: Documents) -> None:
        self.documents, self.clock, self.prefect = documents, UnixTime(), Prefect()
        self.source = FakeDepartments([make_department("legal", 1), make_department("hr.eu", 2)])
        self.runs = GatherRuns(documents, clock=Clock(self.clock))

    async def open(self, order: RunOrder = ORDER) -> Run:
        return await self.runs.open(order, self.source, self.prefect)

    def find_reason(self, run: Run, *budgets: BudgetUsage) -> StopReason | None:
        return find_outer_reason(
            budgets,
            is_time_spent=self.runs.time_left_s(run) <= 0,
        )


@pytest.fixture(params=BACKENDS)
async def opener(request: pytest.FixtureRequest) -> AsyncGenerator[RunOpener]:
    async with opened(request.param, request) as documents:
        made = RunOpener(documents)
        await made.runs.prepare()
        yield made


def iteration(number: int, score: float = 10.0) -> Iteration:
    return Iteration(number, 8, 7, (f"item-{number}",), score, notes={"counted": score})


async def test_a_run_begins_with_the_departments_as_they_are(opener: RunOpener):
    run = await opener.open()
    assert [department.department.slug for department in run.progress.departments] == [
        "legal",
        "hr.eu",
    ]
    assert (run.attempt, run.progress.max_iterations, run.progress.position) == (1, 10, 0)


async def test_the_departments_are_frozen_when_a_run_begins(opener: RunOpener):
    await opener.open()
    opener.source.departments = (make_department("new", 1),)
    run = await opener.open()
    assert [department.department.slug for department in run.progress.departments] == [
        "legal",
        "hr.eu",
    ]
    assert opener.source.listed == 1


async def test_a_resumed_run_goes_on_from_where_it_was(opener: RunOpener):
    run = await opener.open()
    run = await opener.runs.start_department(run, 0, 5.5, {"counted": 5.5})
    run = await opener.runs.record(run, 0, iteration(1, 20.0))
    run = await opener.runs.record(run, 0, iteration(2, 30.0))
    run = await opener.runs.finish_department(run, 0, StopReason.SATURATION)
    resumed = await opener.open()
    assert resumed.progress == run.progress
    assert resumed.progress.departments[0].scores == (5.5, 20.0, 30.0)
    assert resumed.progress.departments[0].notes[1] == {"counted": 20.0}
    assert (resumed.attempt, resumed.progress.position) == (2, 1)


async def test_an_iteration_is_counted_once_however_often_it_is_recorded(opener: RunOpener):
    run = await opener.open()
    first = await opener.runs.record(run, 0, iteration(1, 20.0))
    again = await opener.runs.record(run, 0, iteration(1, 99.0))
    assert again.progress == first.progress
    assert (await opener.runs.load("run-a")).progress.iterations == 1


async def test_what_a_run_did_is_counted_once_however_often_it_is_written(opener: RunOpener):
    run = await opener.open()
    for _ in range(2):
        again = await opener.runs.record(run, 0, iteration(1, 85.0))
        again = await opener.runs.finish_department(again, 0, StopReason.THRESHOLD_REACHED)
        opener.clock.now += 5
        await opener.runs.close(again, "completed", {"legal": 1})
    counters = Counters(await opener.documents.counters())
    assert counters.by(metrics.GATHER_ITERATIONS, "department") == {"legal": 1}
    assert counters.by(metrics.GATHER_ITEMS, "outcome") == {
        "generated": 8,
        "duplicate": 1,
        "saved": 1,
    }
    assert counters.by(metrics.GATHER_DEPARTMENTS, "reason") == {"threshold_reached": 1}
    assert counters.by(metrics.GATHER_RUNS, "status") == {"completed": 1}
    quality = counters.histogram(metrics.GATHER_QUALITY)
    assert (quality.count, quality.total) == (1, 85.0)
    assert counters.histogram(metrics.GATHER_TIME_TO_THRESHOLD).count == 1


async def test_an_iteration_is_never_left_out(opener: RunOpener):
    run = await opener.open()
    after = await opener.runs.record(run, 0, iteration(2))
    assert after.progress.iterations == 0


async def test_an_attempt_that_was_overtaken_by_another_writes_nothing(opener: RunOpener):
    old = await opener.open()
    new = await opener.open()
    for writing in (
        opener.runs.start_department(old, 0, 50.0),
        opener.runs.record(old, 0, iteration(1)),
        opener.runs.finish_department(old, 0, StopReason.SATURATION),
        opener.runs.close(old, "completed", {}),
        opener.runs.end_attempt(old, StopReason.RATE_LIMITED),
        opener.runs.renew(old),
    ):
        with pytest.raises(LockLost, match="run-a"):
            await writing
    with pytest.raises(LockLost):
        await opener.runs.refresh(old)
    assert (await opener.runs.load("run-a")).progress == new.progress


@pytest.mark.parametrize(
    ("state", "waited_s", "is_free"),
    [
        ("running", 0, False),
        ("running", 64, False),
        ("running", 65, True),
        ("unknown", 0, False),
        ("unknown", 65, True),
        ("suspended", 10**6, False),
        ("waiting", 10**6, False),
        ("ended", 0, True),
    ],
)
async def test_another_run_takes_a_project_over_only_from_one_that_is_gone(
    opener: RunOpener, state: HolderState, waited_s: float, is_free: bool
):
    held = await opener.open()
    held = await opener.runs.record(held, 0, iteration(1))
    opener.prefect.states["run-a"] = state
    opener.clock.now += waited_s
    if not is_free:
        with pytest.raises(ProjectBusy, match=rf"'shop' is held by run 'run-a', which is {state}"):
            await opener.open(OTHER)
        assert await opener.runs.record(held, 0, iteration(2))
        return
    taken = await opener.open(OTHER)
    assert taken.progress.iterations == 0, "its budget is its own"
    with pytest.raises(LockLost):
        await opener.runs.record(held, 0, iteration(2))
    with pytest.raises(RunSuperseded, match="'run-a' cannot be resumed: run 'run-b'"):
        await opener.open()
    await opener.runs.close(taken, "completed", {})
    with pytest.raises(RunSuperseded, match="run-b"):
        await opener.open()


async def test_a_lock_that_ends_later_than_any_may_was_written_by_a_wrong_clock(opener: RunOpener):
    await opener.open()
    opener.prefect.states["run-a"] = "running"
    opener.clock.now -= 3600
    assert await opener.runs.is_abandoned("run-a")
    assert (await opener.open(OTHER)).attempt == 1


async def test_a_renewed_lock_holds_for_another_lease(opener: RunOpener):
    run = await opener.open()
    opener.prefect.states["run-a"] = "running"
    for _ in range(3):
        opener.clock.now += 50
        await opener.runs.renew(run)
    with pytest.raises(ProjectBusy):
        await opener.open(OTHER)


async def test_a_lock_is_renewed_while_it_is_held(opener: RunOpener):
    runs = GatherRuns(opener.documents, clock=Clock(opener.clock), lease_s=0.03)
    run = await runs.open(ORDER, opener.source, opener.prefect)
    opener.clock.now += 1000
    async with runs.holding(run):
        async with asyncio.timeout(5):
            while True:
                lock = (await opener.documents.get(LOCKS, ["shop"]))["shop"]
                if lock["lease_until"] > opener.clock.now:
                    break
                await asyncio.sleep(0.005)


async def test_of_many_runs_that_open_at_once_one_gets_the_project(opener: RunOpener):
    orders = [RunOrder(f"run-{n}", "shop", "u", 5) for n in range(8)]
    outcomes = await asyncio.gather(*map(opener.open, orders), return_exceptions=True)
    assert sum(isinstance(outcome, Run) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ProjectBusy) for outcome in outcomes) == 7


async def test_a_closed_run_frees_its_project_and_returns_its_report_again(opener: RunOpener):
    run = await opener.open()
    run = await opener.runs.record(run, 0, iteration(1, 30.0))
    opener.clock.now += 12.5
    report = await opener.runs.close(run, "completed", {"legal": 1})
    assert (report.iterations, report.items_created, report.processing_time_ms) == (1, 1, 12500)
    again = await opener.open()
    assert again.report == report
    assert await opener.runs.close(again, "cancelled", {}) == report
    assert (await opener.open(OTHER)).report is None


async def test_a_cancelled_run_that_is_tried_again_goes_on_from_where_it_was(opener: RunOpener):
    run = await opener.runs.record(await opener.open(), 0, iteration(1, 30.0))
    await opener.runs.close(run, "cancelled", {"legal": 1})
    again = await opener.open()
    assert (again.report, again.attempt) == (None, 2)
    assert again.progress == run.progress
    with pytest.raises(ProjectBusy):
        await opener.open(OTHER)
    again = await opener.runs.record(again, 0, iteration(2, 40.0))
    opener.clock.now += 100
    assert await opener.runs.list_unemitted(60) == []
    report = await opener.runs.close(again, "completed", {"legal": 2})
    assert (report.status, report.iterations) == ("completed", 2)
    assert await opener.runs.list_open() == []


async def test_a_cancelled_run_stays_closed_once_another_one_had_its_project(opener: RunOpener):
    report = await opener.runs.close(await opener.open(), "cancelled", {})
    other = await opener.open(OTHER)
    assert (await opener.open()).report == report
    assert (await opener.runs.refresh(other)).token == other.token
    await opener.runs.close(other, "completed", {})
    assert (await opener.open()).report == report


async def test_a_run_that_ended_without_saying_so_is_listed_until_it_has(opener: RunOpener):
    run = await opener.open()
    assert await opener.runs.list_unemitted(60) == []
    await opener.runs.close(run, "completed", {})
    assert await opener.runs.list_unemitted(60) == []
    opener.clock.now += 61
    assert await opener.runs.list_unemitted(60) == [run.id]
    await opener.runs.mark_emitted(run.id)
    await opener.runs.mark_emitted(run.id)
    assert await opener.runs.list_unemitted(60) == []


@pytest.mark.parametrize("max_iterations", [-1, 1_000_001, 2**80])
async def test_a_number_of_iterations_that_makes_no_sense_is_refused_at_once(
    opener: RunOpener, max_iterations: int
):
    with pytest.raises(InvalidTask, match="0 to 1,000,000"):
        await opener.open(replace(ORDER, max_iterations=max_iterations))
    assert await opener.documents.find(LOCKS, {}) == []
    assert opener.source.listed == 0
    with pytest.raises(InvalidTask, match="1 to 1,000,000, not"):
        Overrides(max_iterations=max_iterations)


async def test_time_is_counted_while_a_run_is_at_work(opener: RunOpener):
    run = await opener.open()
    opener.clock.now += 100
    await opener.runs.record(run, 0, iteration(1))
    opener.clock.now += 5000
    run = await opener.open()
    assert opener.runs.time_left_s(run) == 570
    opener.clock.now += 11
    assert opener.runs.worked_s(run) == 111
    assert opener.runs.time_left_s(run) == 559


async def test_a_run_whose_departments_cannot_be_read_keeps_the_project_and_begins_later(
    opener: RunOpener,
):
    opener.source.error = Unavailable("payload", "503")
    with pytest.raises(Unavailable):
        await opener.open()
    with pytest.raises(ProjectBusy):
        await opener.open(OTHER)
    assert (await opener.open()).attempt == 1


async def test_a_run_that_is_overtaken_while_it_begins_does_not_begin(opener: RunOpener):
    class SlowDepartments(FakeDepartments):
        async def __call__(self) -> DepartmentList:
            opener.prefect.states["run-a"] = "ended"
            await opener.open(OTHER)
            return await super().__call__()

    slow = SlowDepartments(opener.source.departments)
    with pytest.raises(LockLost):
        await opener.runs.open(ORDER, slow, opener.prefect)
    with pytest.raises(RunSuperseded):
        await opener.open()
    assert (await opener.open(OTHER)).attempt == 2


async def test_overrides_are_read_at_the_next_refresh(opener: RunOpener):
    run = await opener.open()
    await opener.runs.override("run-a", Overrides(max_iterations=3))
    await opener.runs.override("run-a", Overrides(thresholds={"hr.eu": 55.5}))
    run = await opener.runs.refresh(run)
    assert run.progress.max_iterations == 3
    assert [department.threshold for department in run.progress.departments] == [80.0, 55.5]
    assert (await opener.open()).progress == run.progress


async def test_an_override_for_nobody_is_refused(opener: RunOpener):
    with pytest.raises(UnknownRun, match="'run-a'"):
        await opener.runs.override("run-a", Overrides(max_iterations=3))
    run = await opener.open()
    with pytest.raises(InvalidTask, match="no department 'sales'"):
        await opener.runs.override("run-a", Overrides(thresholds={"sales": 5}))
    await opener.runs.close(run, "completed", {})
    with pytest.raises(RunOver, match="completed"):
        await opener.runs.override("run-a", Overrides(max_iterations=3))


async def test_a_department_that_was_announced_as_done_is_not_changed(opener: RunOpener):
    run = await opener.open()
    run = await opener.runs.start_department(run, 0, 82.0)
    run = await opener.runs.finish_department(run, 0, StopReason.THRESHOLD_REACHED)
    with pytest.raises(InvalidTask, match=r"'legal' is done in this run \(threshold reached\)"):
        await opener.runs.override("run-a", Overrides(5, {"hr.eu": 10, "legal": 90}))
    assert (await opener.runs.refresh(run)).progress == run.progress


async def test_a_raised_budget_is_for_departments_that_had_no_iteration_left(opener: RunOpener):
    run = await opener.open(replace(ORDER, max_iterations=1))
    run = await opener.runs.start_department(run, 0, 5.0)
    run = await opener.runs.record(run, 0, iteration(1))
    run = await opener.runs.finish_department(run, 0, StopReason.MAX_ITERATIONS_REACHED)
    run = await opener.runs.finish_department(run, 1, StopReason.NO_ITERATIONS_LEFT)
    assert (await opener.open()).progress.position is None
    await opener.runs.override("run-a", Overrides(3, {"hr.eu": 10}))
    run = await opener.open()
    reasons = [department.reason for department in run.progress.departments]
    assert reasons == [StopReason.MAX_ITERATIONS_REACHED, None]
    assert run.progress.position == 1
    run = await opener.runs.finish_department(run, 1, StopReason.THRESHOLD_REACHED)
    assert (await opener.open()).progress.departments[1].reason is StopReason.THRESHOLD_REACHED


async def test_a_run_that_was_overtaken_in_order_to_close_it_writes_nothing_more(opener: RunOpener):
    run = await opener.runs.record(await opener.open(), 0, iteration(1))
    taken = await opener.runs.overtake("run-a")
    assert taken.progress == run.progress
    with pytest.raises(LockLost):
        await opener.runs.record(run, 0, iteration(2))
    report = await opener.runs.close(taken, "cancelled", {"legal": 7})
    assert (report.status, report.iterations, report.items_created) == ("cancelled", 1, 7)
    assert (await opener.runs.overtake("run-a")).report == report
    assert (await opener.open(OTHER)).attempt == 1


async def test_what_is_not_open_is_not_overtaken(opener: RunOpener):
    with pytest.raises(UnknownRun):
        await opener.runs.overtake("run-a")
    await opener.open()
    opener.prefect.states["run-a"] = "ended"
    other = await opener.open(OTHER)
    with pytest.raises(RunSuperseded, match="'run-b'"):
        await opener.runs.overtake("run-a")
    assert (await opener.runs.refresh(other)).token == other.token


async def test_the_open_runs_are_those_that_nobody_has_closed_or_taken_over(opener: RunOpener):
    assert await opener.runs.list_open() == []
    await opener.open()
    opener.clock.now += 1
    elsewhere = await opener.open(RunOrder("run-c", "other", "user-1", 10))
    assert await opener.runs.list_open() == ["run-a", "run-c"]
    opener.prefect.states["run-a"] = "ended"
    await opener.open(OTHER)
    await opener.runs.close(elsewhere, "completed", {})
    assert await opener.runs.list_open() == ["run-b"]
    with pytest.raises(RunSuperseded, match="'run-b'"):
        await opener.runs.load_open("run-a")


async def test_a_run_is_abandoned_when_nobody_renews_its_lock(opener: RunOpener):
    run = await opener.open()
    assert not await opener.runs.is_abandoned("run-a")
    opener.clock.now += 64.9
    assert not await opener.runs.is_abandoned("run-a")
    opener.clock.now += 0.1
    assert await opener.runs.is_abandoned("run-a")
    await opener.runs.renew(run)
    assert not await opener.runs.is_abandoned("run-a")
    opener.prefect.states["run-a"] = "ended"
    await opener.open(OTHER)
    assert await opener.runs.is_abandoned("run-a")


async def test_spent_budgets_and_time_stop_a_run(opener: RunOpener):
    run = await opener.open()
    usd = BudgetUsage("BUDGET_USD_PER_DAY", Decimal(5), Decimal(5), None)
    tokens = BudgetUsage("BUDGET_TOKENS_PER_RUN", 100, 99, None)
    assert opener.find_reason(run, usd, tokens) is StopReason.COST_BUDGET
    assert opener.find_reason(run, tokens) is None
    opener.clock.now += 570
    assert opener.find_reason(run, tokens) is StopReason.TIME_BUDGET


async def test_an_answer_is_kept_as_it_came(opener: RunOpener):
    run = await opener.open()
    answers = opener.runs.answers(run, 0, 1)
    said = Completion(
        text='{"items": ["half a \ud83d and a \0"',
        finish="length",
        provider="p",
        asked="a",
        model="m",
        used=Tokens(5, 6),
        is_mock=True,
        refusal="no",
    )
    assert await answers.find("generate") is None
    await answers.save("generate", said)
    await answers.save("generate", Completion("other", "stop", "p", "a", "m", Tokens(1)))
    assert await answers.find("generate") == said
    assert await opener.runs.answers(run, 0, 2).find("generate") is None
    assert await opener.runs.answers(run, 1, 1).find("generate") is None


async def test_of_two_passes_the_first_ones_decision_stands(opener: RunOpener):
    answers = opener.runs.answers(await opener.open(), 0, 1)
    assert await answers.save_values("dedup", [1]) == [1]
    assert await answers.save_values("dedup", [2]) == [1]
    assert await answers.find_values("dedup") == [1]


async def test_what_goes_with_a_decision_is_written_with_the_first_one_alone(opener: RunOpener):
    answers = opener.runs.answers(await opener.open(), 0, 1)
    assert await answers.add_values("dedup", [1], Insert("things", [{"_id": "of the first"}]))
    assert not await answers.add_values("dedup", [2], Insert("things", [{"_id": "of the second"}]))
    assert await opener.documents.find("things", {}) == [{"_id": "of the first"}]


async def test_what_is_read_ahead_is_known_once(opener: RunOpener):
    run = await opener.open()
    answers, other = (opener.runs.answers(run, 0, 1) for _ in range(2))
    await other.save_values("batch", [1])
    await answers.read_ahead("batch", "dedup")
    await other.save_values("dedup", [2])
    assert await answers.find_values("batch") == [1]
    assert await answers.find_values("dedup") is None, "as it was when it was read"
    assert await answers.save_values("dedup", [3]) == [2], "but the first one's decision stands"
    assert await answers.find_values("dedup") == [2]


async def test_what_is_read_ahead_is_not_believed_once_something_is_saved(opener: RunOpener):
    answers = opener.runs.answers(await opener.open(), 0, 1)
    await answers.read_ahead("dedup")
    await answers.save_values("dedup", [1])
    assert await answers.find_values("dedup") == [1]


async def test_of_an_endless_answer_as_much_is_kept_as_is_read(opener: RunOpener):
    answers = opener.runs.answers(await opener.open(), 0, 1)
    text = "x" * (3 * MAX_ANSWER_CHARS)
    await answers.save("generate", Completion(text, "stop", "p", "a", "m", Tokens(1)))
    kept = await answers.find("generate")
    assert kept is not None
    assert len(kept.text) == MAX_ANSWER_CHARS + 1


async def test_old_answers_are_purged(opener: RunOpener):
    answers = opener.runs.answers(await opener.open(), 0, 1)
    await answers.save_values("dedup", [1])
    opener.clock.now += 100
    assert await purge_answers(opener.documents, 100, clock=opener.clock) == 0
    assert await purge_answers(opener.documents, 99, clock=opener.clock) == 1
    assert await opener.documents.count(ANSWERS, {}) == 0


@pytest.mark.parametrize("project_id", ["", "a/b", "x" * 49])
async def test_a_hostile_project_is_refused_before_anything_is_written(
    opener: RunOpener, project_id: str
):
    with pytest.raises(InvalidTask):
        await opener.open(RunOrder("run-a", project_id, "u"))
    assert await opener.documents.count(LOCKS, {}) == 0


@pytest.mark.parametrize(
    "error",
    [
        ProjectBusy("r", "p", "running"),
        RunSuperseded("a", "b"),
        LockLost("a"),
        UnknownRun("a"),
        RunOver("a", "completed"),
    ],
)
def test_errors_survive_the_way_to_another_process(error: AletheiaError):
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert not error.retryable


class Killed(Exception):
    """Stands for the end of a process."""


class DyingDocuments(InTurnDocuments):
    """The real store, which a process does not come back from at a chosen write."""

    def __init__(self, directory: Path, kill_at: int) -> None:
        super().__init__(directory)
        self.left = kill_at

    def _pass_one(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    async def insert(
        self, collection: str, documents: Sequence[Document], **counts: Any
    ) -> set[str]:
        self._pass_one()
        return await super().insert(collection, documents, **counts)

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        self._pass_one()
        return await super().update(collection, updates)

    async def take(self, *args: Any, **options: Any) -> Document | None:
        self._pass_one()
        return await super().take(*args, **options)


@pytest.mark.parametrize("kill_at", range(1, 13))
async def test_a_takeover_that_dies_anywhere_leaves_one_run_that_can_go_on(
    tmp_path: Path, kill_at: int
):
    store = EmbeddedDocuments(tmp_path)
    await store.open()
    opener = RunOpener(store)
    old = await opener.open()
    old = await opener.runs.record(old, 0, iteration(1))
    opener.prefect.states["run-a"] = "ended"

    dying = DyingDocuments(tmp_path, kill_at)
    await dying.open()
    with contextlib.suppress(Killed):
        await GatherRuns(dying, clock=Clock(opener.clock)).open(
            OTHER, opener.source, opener.prefect
        )
    await dying.close()

    lock = (await store.get(LOCKS, ["shop"]))["shop"]
    if lock["run_id"] == "run-a":
        assert (await opener.open()).progress.iterations == 1
    else:
        with pytest.raises(RunSuperseded):
            await opener.open()
        taken = await opener.open(OTHER)
        taken = await opener.runs.record(taken, 0, iteration(1))
        with pytest.raises(LockLost):
            await opener.runs.record(old, 0, iteration(2))
        assert taken.progress.iterations == 1
    await store.close()
