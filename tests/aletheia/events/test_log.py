"""The log of events, on every backend of the store."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from aletheia.documents import Documents
from aletheia.errors import InvalidTask, Unavailable
from aletheia.events.log import EVENTS, PURGED, EventLog
from aletheia.events.models import (
    AutomationCancelled,
    AutomationComplete,
    Deduplicating,
    DepartmentComplete,
    DepartmentSummary,
    MaxIterationsReached,
)
from aletheia.metrics import EVENTS_ADDED
from aletheia.series import Counters
from aletheia.store.project_id import check_project_id
from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.aletheia.events.event_processes import (
    PROJECT,
    emit_with_others,
    finished,
    iterated,
    started,
    story,
)
from tests.aletheia.resilience.conftest import Clock, clock
from tests.aletheia.resilience.contenders import compete
from tests.fakes.documents import LosableDocuments

__all__ = ["clock", "documents", "mongodb_uri"]

HOSTILE = [
    "",
    "a b",
    "a" * 49,
    "../etc",
    "a/b",
    "a.b",
    "p1:0000000000000001",
    "p1\n",
    "p1\x00",
    "p$1",
    "é",
    "\uff11",
    "*",
    "'; DROP TABLE x",
]


async def numbers_of(log: EventLog, project_id: str) -> list[int]:
    return [event.seq for event in await log.read(project_id)]


async def test_events_are_numbered_from_one_in_the_order_they_are_emitted(documents: Documents):
    log = EventLog(documents)
    await log.prepare()
    saved = [
        await log.append(event, run_id="r", iteration=iteration) for event, iteration in story()
    ]
    assert [event.seq for event in saved] == [1, 2, 3, 4, 5, 6, 7]
    assert await log.read("p1") == saved
    assert [event.is_last for event in saved] == [False] * 6 + [True]
    assert [event.read() for event in saved] == [event for event, _ in story()]


async def test_an_event_is_counted_when_it_is_new(documents: Documents):
    log = EventLog(documents)
    for _ in range(2):
        for event, iteration in story():
            await log.append(event, run_id="r", iteration=iteration)
    counted = Counters(await documents.counters()).by(EVENTS_ADDED, "type")
    assert counted == Counter(event.type for event, _ in story())


async def test_a_second_pass_adds_nothing_and_gets_what_is_there(documents: Documents):
    log = EventLog(documents)
    first = [
        await log.append(event, run_id="r", iteration=iteration) for event, iteration in story()
    ]
    again = EventLog(documents)
    second = [
        await again.append(event, run_id="r", iteration=iteration) for event, iteration in story()
    ]
    assert second == first
    assert await log.end("p1") == len(first)


async def test_what_the_first_pass_said_stays(documents: Documents):
    log = EventLog(documents)
    await log.append(started(), run_id="r")
    changed = started().model_copy(update={"model": "another"})
    assert b"gpt-5-mini" in (await log.append(changed, run_id="r")).body


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"run_id": "r1"}, {"run_id": "r2"}),
        ({"run_id": "r", "department_id": "d1"}, {"run_id": "r", "department_id": "d2"}),
    ],
)
async def test_another_run_or_department_is_another_event(
    documents: Documents, one: dict[str, Any], other: dict[str, Any]
):
    log = EventLog(documents)
    assert (await log.append(started(), **one)).seq == 1
    assert (await log.append(started(), **other)).seq == 2


async def test_each_iteration_is_another_event(documents: Documents):
    log = EventLog(documents)
    event = Deduplicating(project_id="p1", department="legal")
    assert (await log.append(event, run_id="r", iteration=1)).seq == 1
    assert (await log.append(event, run_id="r", iteration=2)).seq == 2
    assert (await log.append(event, run_id="r", iteration=1)).seq == 1


async def test_names_that_look_alike_when_joined_are_different_keys(documents: Documents):
    log = EventLog(documents)
    one = await log.append(started(department='b","x'), run_id="a")
    other = await log.append(started(department="b"), run_id='a","x')
    assert (one.seq, other.seq) == (1, 2)


@pytest.mark.parametrize("iteration", [0, -1])
async def test_deduplicating_without_its_iteration_is_refused(tmp_path: Path, iteration: int):
    log = EventLog(LosableDocuments(tmp_path))
    with pytest.raises(ValueError, match="iteration"):
        await log.append(
            Deduplicating(project_id="p", department="d"), run_id="r", iteration=iteration
        )
    with pytest.raises(ValueError, match="iteration"):
        await log.append(started(), run_id="r", iteration=1)


async def test_projects_have_logs_of_their_own_even_if_one_name_begins_another(
    documents: Documents,
):
    log = EventLog(documents)
    for project_id in ("p", "p-1", "p1", "P"):
        assert (await log.append(started(project_id), run_id="r")).seq == 1
    assert [event.project_id for event in await log.read("p")] == ["p"]


async def test_everybody_gets_the_same_bytes_with_number_and_timestamp(
    documents: Documents, clock: Clock
):
    log = EventLog(documents, clock=clock.both)
    saved = await log.append(iterated(1), run_id="r")
    assert saved.at == clock.now
    assert orjson.loads(saved.body) == {
        "type": "iteration_complete",
        "project_id": "p1",
        "department": "legal",
        "department_name": "Legal",
        "iteration": 1,
        "total_iterations": 1,
        "quality_score": 61.5,
        "items_created": 4,
        "threshold": 80.0,
        "seq": 1,
        "timestamp": "2026-11-18T10:00:30.250001Z",
    }
    (read,) = await EventLog(documents).read("p1")
    assert read.body == saved.body
    assert read.id == "p1:1"


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (
            MaxIterationsReached(
                project_id="p", department="d", final_quality_score=70, threshold=80
            ),
            {"department", "final_quality_score", "threshold"},
        ),
        (
            DepartmentComplete(
                project_id="p",
                department="d",
                department_name="D",
                quality_score=70,
                iterations_used=0,
            ),
            {"department", "department_name", "quality_score", "iterations_used"},
        ),
        (AutomationCancelled(project_id="p", items_created_so_far=3), {"items_created_so_far"}),
    ],
)
def test_events_have_the_fields_that_are_agreed(event: Any, fields: set[str]):
    assert set(event.model_dump()) == fields | {"type", "project_id"}


def test_the_last_event_sums_departments_up_scored_or_not():
    row = DepartmentSummary(
        department="d", name="D", quality_score=None, iterations=0, items_created=0
    )
    said = AutomationComplete(
        project_id="p", total_iterations=0, departments_processed=0, items_created=0, summary=(row,)
    ).model_dump(mode="json")
    assert said["summary"] == [
        {"department": "d", "name": "D", "quality_score": None, "iterations": 0, "items_created": 0}
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality_score": float("nan")},
        {"quality_score": 101},
        {"items_created": -1},
        {"iteration": 0},
        {"project_id": "a/b"},
        {"type": "deduplicating"},
    ],
)
def test_an_event_that_makes_no_sense_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        type(iterated(1)).model_validate({**iterated(1).model_dump(), **wrong})


@pytest.mark.parametrize("project_id", HOSTILE)
async def test_a_hostile_project_id_is_refused_by_a_stable_code(tmp_path: Path, project_id: str):
    log = EventLog(LosableDocuments(tmp_path))
    event = started().model_copy(update={"project_id": project_id})
    for refusing in (log.end(project_id), log.read(project_id), log.append(event, run_id="r")):
        with pytest.raises(InvalidTask) as caught:
            await refusing
        assert caught.value.code == "invalid_project_id"
    with pytest.raises(ValidationError):
        started(project_id)


@pytest.mark.parametrize("project_id", ["a", "A_b-9", "x" * 48])
def test_a_good_project_id_is_taken_as_it_is(project_id: str):
    assert check_project_id(project_id) == project_id


async def test_reading_begins_after_a_number_and_stops_at_a_limit(documents: Documents):
    log = EventLog(documents)
    for iteration in range(1, 13):
        await log.append(iterated(iteration), run_id="r")
    assert [event.seq for event in await log.read("p1", after=9)] == [10, 11, 12]
    assert [event.seq for event in await log.read("p1", after=2, limit=3)] == [3, 4, 5]
    assert await log.read("p1", after=12) == []


async def test_reading_stops_at_an_event_that_cannot_be_seen_yet(documents: Documents):
    log = EventLog(documents)
    for iteration in range(1, 5):
        await log.append(iterated(iteration), run_id="r")
    await documents.delete(EVENTS, {"seq": 3})
    assert await numbers_of(log, "p1") == [1, 2]


async def test_following_gives_what_was_missed_and_then_what_is_new(documents: Documents):
    log = EventLog(documents)
    await log.append(iterated(1), run_id="r")
    await log.append(iterated(2), run_id="r")
    following = log.follow("p1", after=1, interval_s=0.001)
    assert (await anext(following)).seq == 2
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await log.append(iterated(3), run_id="r")
    assert (await waiting).seq == 3
    await following.aclose()


async def test_following_outlives_a_store_that_is_lost_for_a_while(tmp_path: Path):
    store = LosableDocuments(tmp_path)
    await store.open()
    log = EventLog(store)
    following = log.follow("p1", interval_s=0.001)
    store.is_lost = True
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.02)
    store.is_lost = False
    await log.append(iterated(1), run_id="r")
    assert (await waiting).seq == 1
    await following.aclose()
    await store.close()


@pytest.mark.parametrize("fault", ["is_lost", "loses_answers"])
async def test_an_append_that_failed_may_be_repeated(tmp_path: Path, fault: str):
    store = LosableDocuments(tmp_path)
    await store.open()
    log = EventLog(store)
    await log.append(iterated(1), run_id="r")
    setattr(store, fault, True)
    with pytest.raises(Unavailable):
        await log.append(iterated(2), run_id="r")
    setattr(store, fault, False)
    assert (await log.append(iterated(2), run_id="r")).seq == 2
    assert await numbers_of(log, "p1") == [1, 2]
    await store.close()


async def test_an_insert_whose_answer_was_lost_is_found_again(tmp_path: Path):
    class InsertsUnheard(LosableDocuments):
        async def insert(self, collection: str, documents: Any, **counts: Any) -> set[str]:
            self.loses_answers = False
            done = await super().insert(collection, documents, **counts)
            self.loses_answers = True
            return done

    store = InsertsUnheard(tmp_path)
    await store.open()
    log = EventLog(store)
    with pytest.raises(Unavailable):
        await log.append(iterated(1), run_id="r")
    store.loses_answers = False
    written = await log.read("p1")
    assert [await log.append(iterated(1), run_id="r")] == written
    assert await numbers_of(log, "p1") == [1]
    await store.close()


async def test_writers_of_one_process_share_numbers_without_gaps_and_keys_without_repeats(
    documents: Documents,
):
    logs = [EventLog(documents) for _ in range(4)]
    numbers = await asyncio.gather(
        *(log.append(iterated(iteration), run_id="r") for iteration in range(1, 9) for log in logs)
    )
    assert await numbers_of(logs[0], "p1") == list(range(1, 9))
    assert len({event.seq for event in numbers}) == 8


@pytest.mark.timeout(120)
async def test_processes_share_numbers_without_gaps_and_keys_without_repeats(tmp_path: Path):
    rounds, processes = 25, 4
    emitted = compete(tmp_path, emit_with_others, ("r", rounds), processes=processes)
    store = LosableDocuments(tmp_path)
    await store.open()
    events = await EventLog(store).read("p1")
    await store.close()
    assert [event.seq for event in events] == list(range(1, rounds * (1 + processes) + 1))
    keys = [(event.read().model_dump()["department"], event.read()) for event in events]
    assert len(set(map(str, keys))) == len(events)
    shared = [numbers[0::2] for numbers in emitted]
    assert all(numbers == shared[0] for numbers in shared), "one number for one key"
    assert all(numbers == sorted(numbers) for numbers in shared), "in the order they were emitted"
    for numbers in emitted:
        assert numbers[1::2] == sorted(numbers[1::2])


async def test_the_last_event_of_a_run_is_marked(documents: Documents):
    log = EventLog(documents)
    cancelled = AutomationCancelled(project_id="p1", items_created_so_far=2)
    assert (await log.append(cancelled, run_id="r1")).is_last
    assert (await log.append(finished(), run_id="r2")).is_last
    assert not (await log.append(started(), run_id="r3")).is_last


DAY_S = 86_400.0


async def test_old_events_are_purged_but_for_the_last_of_a_project(
    documents: Documents, clock: Clock
):
    log = EventLog(documents, clock=clock.both)
    await log.prepare()
    for iteration in range(1, 6):
        await log.append(iterated(iteration), run_id="r")
    await log.append(iterated(1, "p2"), run_id="r")
    clock.move(days=31)
    assert await log.purge(30 * DAY_S) == 4
    assert await log.purge(30 * DAY_S) == 0
    assert [event.seq for event in await log.read(PROJECT)] == [5]
    assert [event.seq for event in await log.read("p2")] == [1]
    saved = await log.append(iterated(6), run_id="r")
    assert saved.seq == 6


async def test_only_what_is_old_from_the_first_event_on_is_purged(
    documents: Documents, clock: Clock
):
    log = EventLog(documents, clock=clock.both)
    for iteration, days in enumerate((0, 0, 20, -15, 0), start=1):
        # The clock is moved back once: the fourth event seems older than the third.
        clock.move(days=days)
        await log.append(iterated(iteration), run_id="r")
    clock.move(days=26)
    assert await log.purge(30 * DAY_S) == 2
    assert [event.seq for event in await log.read(PROJECT)] == [3, 4, 5]


async def test_a_reader_passes_over_what_was_purged(documents: Documents, clock: Clock):
    log = EventLog(documents, clock=clock.both)
    for iteration in range(1, 5):
        await log.append(iterated(iteration), run_id="r")
    clock.move(days=31)
    for iteration in range(5, 8):
        await log.append(iterated(iteration), run_id="r")
    assert await log.purge(30 * DAY_S) == 4
    for after in (0, 2, 4):
        assert [event.seq for event in await log.read(PROJECT, after=after)] == [5, 6, 7]
    assert [event.seq for event in await log.read(PROJECT, after=0, limit=2)] == [5, 6]
    assert [event.seq for event in await log.read(PROJECT, after=6)] == [7]


async def test_a_purge_that_was_killed_is_finished_by_the_next_one(
    documents: Documents, clock: Clock
):
    log = EventLog(documents, clock=clock.both)
    for iteration in range(1, 7):
        await log.append(iterated(iteration), run_id="r")
    clock.move(days=31)
    await documents.insert(PURGED, [{"_id": PROJECT, "seq": 5}])
    await documents.delete(EVENTS, {"seq": {"$in": [1, 2, 4]}})
    assert [event.seq for event in await log.read(PROJECT)] == [6]
    assert await log.purge(30 * DAY_S) == 2
    assert [event.seq for event in await log.read(PROJECT)] == [6]
