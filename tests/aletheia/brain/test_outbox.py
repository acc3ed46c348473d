"""What the Brain has not received yet (SPEC §4, Brain)."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.brain.access import BrainAccess
from aletheia.brain.index import IndexedBrain
from aletheia.brain.intents import OUTBOX
from aletheia.brain.ports import BrainDepartment, BrainItem, Upserted
from aletheia.errors import InvalidTask, Refused, Unavailable
from aletheia.metrics import BRAIN_ITEMS, BRAIN_OUTBOX, STEP_DURATION
from aletheia.quality.evaluation import evaluation_id
from aletheia.quality.evaluation_store import EVALUATIONS, EvaluationRequest
from aletheia.series import Counters
from tests.fakes.brain import LEGAL, MODEL, NOT_EMBEDDABLE, PROJECT, SALES, BrainWorld
from tests.fakes.brain_graphs import read_evaluation, read_neighbours


async def test_what_is_saved_is_delivered_and_then_forgotten(world: BrainWorld):
    ids = await world.save("first", "second")
    assert list(await world.outbox.intents.count_by_project()) == [PROJECT]
    assert await world.deliver() == 2
    assert await world.known() == ids[::-1]
    assert await world.outbox.intents.count_by_project() == {}
    assert await world.deliver() == 0
    assert world.graph.upserts == [ids]


async def test_what_waits_and_what_was_taken_is_counted(world: BrainWorld):
    await world.save("first", "second")
    await world.save("third")
    assert Counters(await world.documents.counters()).value(BRAIN_OUTBOX) == 2
    await world.deliver()
    counters = Counters(await world.documents.counters())
    assert counters.value(BRAIN_OUTBOX) == 0
    assert counters.value(BRAIN_ITEMS, "indexed") == 3
    assert counters.value(BRAIN_ITEMS, "refused") == 0
    assert counters.histogram(STEP_DURATION, "brain").count == 1
    world.documents.note(BRAIN_OUTBOX.add(by=7))
    await world.outbox.intents.correct_gauge()
    assert Counters(await world.documents.counters()).value(BRAIN_OUTBOX) == 0


async def test_nothing_is_embedded_a_second_time(world: BrainWorld):
    await world.save("first", "second")
    asked = list(world.embed.texts)
    await world.deliver()
    # Once more for the length of a vector, which nobody has told this Brain.
    assert len(world.embed.texts) == len(asked) + 1


async def test_intents_are_delivered_in_their_order(world: BrainWorld):
    legal = await world.save("first")
    sales = await world.save("second", department=SALES)
    legal += await world.save("third") + await world.save("fourth")
    assert await world.deliver() == 4
    assert world.graph.upserts == [legal[:1], sales, legal[1:]]
    assert await world.known() == legal[::-1]


async def test_what_is_delivered_is_linked(world: BrainWorld):
    await world.save("first", "second", "third")
    world.brain = IndexedBrain(world.graph, world.embed, MODEL, link_from=-1.0)
    await world.deliver()
    (newest, *_) = await world.known()
    assert len(await read_neighbours(world.graph, PROJECT, newest)) == 2


async def test_what_waits_while_the_brain_is_away_is_delivered_afterwards(
    world: BrainWorld, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "aletheia")
    world.graph.is_away = True
    ids = await world.save("first")
    assert await world.deliver() == 0
    ids += await world.save("second")
    assert await world.deliver() == 0
    (state,) = await world.outbox.states()
    assert (state.waiting, state.failures) == (2, 1)
    assert state.next_try_at is not None
    assert "made to fail" in state.reason
    world.graph.is_away = False
    assert await world.deliver() == 0, "the pause is not over"
    world.now += 11
    assert await world.deliver() == 2
    assert await world.known() == ids[::-1]
    assert await world.outbox.states() == []
    assert caplog.text.count("the Brain is away") == 1
    assert "the Brain is back" in caplog.text


async def test_pauses_grow_and_the_breaker_spares_a_brain_that_stays_away(world: BrainWorld):
    world.graph.is_away = True
    await world.save("first")
    pauses: list[float] = []
    for _ in range(6):
        await world.deliver()
        (state,) = await world.outbox.states()
        assert state.next_try_at is not None
        pauses.append(state.next_try_at.timestamp() - world.now)
        world.now += pauses[-1]
    assert pauses == pytest.approx([10, 20, 40, 80, 160, 320])
    (breaker,) = await world.breakers.states()
    assert breaker.failures == 5


async def test_a_brain_lost_in_mid_batch_is_given_the_rest_later(world: BrainWorld):
    names = [f"item {n}" for n in range(600)]
    ids = await world.save(*names[:300]) + await world.save(*names[300:])
    # To open, to see which model, to set it, one batch, to see the model again, to link it.
    world.graph.calls_left = 6
    delivered = await world.deliver()
    assert 0 < delivered < 600
    world.graph.calls_left, world.graph.is_away = None, False
    world.now += 11
    assert delivered + await world.deliver() == 600
    assert sorted(await world.known()) == sorted(ids)


async def test_ids_that_were_never_saved_are_passed_over_after_a_while(world: BrainWorld):
    await world.outbox.intents.announce(PROJECT, "killed", LEGAL, ["0" * 24])
    ids = await world.save("second")
    assert await world.deliver() == 0, "a run may be just about to save them"
    world.now += 61
    assert await world.deliver() == 1
    assert await world.known() == ids
    assert await world.outbox.intents.count_by_project() == {}


async def test_a_clock_that_is_behind_takes_no_intent_for_an_old_one(world: BrainWorld):
    (late,) = world.make("late")
    await world.outbox.intents.announce(PROJECT, "about to be saved", LEGAL, [late.id])
    world.now -= 5
    assert await world.deliver() == 0
    await world.content.insert_items([late])
    assert await world.deliver() == 1
    assert await world.known() == [late.id]


async def test_an_intent_that_is_written_twice_waits_once(world: BrainWorld):
    await world.save("first")
    await world.save("first")
    assert await world.documents.count(OUTBOX, {}) == 1
    await world.deliver()
    await world.save("first")
    assert await world.deliver() == 1, "the same items again change nothing"
    assert len(await world.known()) == 1


async def test_an_item_that_another_department_has_saved_stays_there(world: BrainWorld):
    ids = await world.save("first", department=SALES)
    await world.outbox.intents.announce(PROJECT, "the same text", LEGAL, ids)
    world.now += 61
    await world.deliver()
    assert await world.known("sales") == ids
    assert await world.known("legal") == []


async def test_one_process_at_a_time_delivers(world: BrainWorld):
    await world.save("first")
    world.graph.wait_s = 0.05
    other = world.make_outbox()
    answers = await asyncio.gather(
        world.deliver(), other.deliver(PROJECT, world.access, world.items)
    )
    assert sorted(answers) == [0, 1]
    assert len(world.graph.upserts) == 1


async def test_a_process_that_died_holds_a_project_no_longer_than_its_lease(world: BrainWorld):
    ids = await world.save("first")
    world.graph.wait_s = 30
    dying = asyncio.create_task(world.deliver())
    await asyncio.sleep(0.1)
    world.outbox = world.make_outbox()
    world.access = BrainAccess(world.fetch, world.breakers)
    assert await world.deliver() == 0
    world.graph.wait_s = 0
    world.now += 186
    assert await world.deliver() == 1
    assert await world.known() == ids
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)


async def test_an_item_that_is_refused_for_what_it_is_becomes_a_dead_letter(world: BrainWorld):
    good = await world.save("good")
    (bad,) = await world.save("bad")
    changed = world.make(NOT_EMBEDDABLE)[0]
    await world.content.insert_items([changed])
    await world.outbox.intents.announce(PROJECT, "unembeddable", LEGAL, [changed.id])
    assert await world.deliver() == 2
    assert await world.known() == [bad, *good]
    (dead,) = await world.outbox.dead_items.newest(PROJECT)
    assert (dead["item"], dead["department"], dead["code"]) == (
        changed.id,
        "legal",
        "input_too_long",
    )
    (state,) = await world.outbox.states()
    assert (state.waiting, state.dead) == (0, 1)
    assert await world.outbox.dead_items.forget_items(PROJECT, [changed.id, bad]) == 1
    assert await world.outbox.states() == []


class Refusing(IndexedBrain):
    """Refuses whole requests with some department in them."""

    error: Exception = Refused("brain", 422, "no such department")

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[BrainItem]
    ) -> Upserted:
        if any("odd" in item.content for item in items):
            raise self.error
        return await super().upsert(project_id, department, items)


@pytest.mark.parametrize(
    "error", [Refused("brain", 422, "no"), InvalidTask("wrong_dimensions", "no")]
)
async def test_a_request_that_is_refused_holds_nobody_else_up(world: BrainWorld, error: Exception):
    world.brain = Refusing(world.graph, world.embed, "m", 8)
    world.brain.error = error
    first, odd, last = [(await world.save(name))[0] for name in ("first", "odd", "last")]
    assert await world.deliver() == 2
    assert await world.known() == [last, first]
    (dead,) = await world.outbox.dead_items.newest()
    assert (dead["item"], dead["code"]) == (odd, getattr(error, "code", ""))


async def test_wrong_credentials_lose_nothing(world: BrainWorld):
    world.brain = Refusing(world.graph, world.embed, "m", 8)
    world.brain.error = Refused("brain", 401, "no")
    await world.save("odd")
    assert await world.deliver() == 0
    (state,) = await world.outbox.states()
    assert (state.waiting, state.dead) == (1, 0)
    assert "401" in state.reason


async def test_items_are_delivered_beside_a_run(world: BrainWorld):
    async with world.outbox.feeding(PROJECT, world.access, world.items):
        ids = await world.save("first")
        world.outbox.nudge()
        async with asyncio.timeout(10):
            while await world.outbox.intents.count_by_project():
                await asyncio.sleep(0.01)
        ids += await world.save("second")
    assert await world.known() == ids[::-1]


async def test_a_brain_that_hangs_does_not_hold_up_the_end_of_a_run(world: BrainWorld):
    world.graph.wait_s = 60
    began = asyncio.get_running_loop().time()
    async with world.outbox.feeding(PROJECT, world.access, world.items):
        await world.save("first")
    assert asyncio.get_running_loop().time() - began < 5
    (state,) = await world.outbox.states()
    assert (state.waiting, state.failures) == (1, 1)
    assert state.next_try_at is not None
    assert "no answer within the time" in state.reason
    world.graph.wait_s = 0
    world.now += 11
    assert await world.deliver() == 1
    assert await world.outbox.states() == []


async def test_whoever_knows_that_the_brain_is_back_need_not_wait(world: BrainWorld):
    world.graph.is_away = True
    ids = await world.save("first")
    await world.deliver()
    world.graph.is_away = False
    assert await world.deliver() == 0
    items, access = world.items, world.access
    assert await world.outbox.deliver(PROJECT, access, items, is_back=True) == 1
    assert await world.known() == ids


async def test_an_intent_that_is_withdrawn_is_not_delivered(world: BrainWorld):
    await world.save("first")
    saved = await world.save("second")
    await world.outbox.intents.withdraw(PROJECT, "first")
    assert await world.deliver() == 1
    assert await world.known() == saved


async def test_a_store_that_is_away_is_no_fault_of_the_brain(world: BrainWorld):
    await world.save("first")
    await world.documents.close()
    with pytest.raises(Unavailable, match="store"):
        await world.deliver()
    await world.documents.open()
    assert await world.deliver() == 1
    assert isinstance(world.graph, EmbeddedGraph)


async def test_old_refusals_are_deleted(world: BrainWorld):
    await world.content.insert_items(odd := world.make(NOT_EMBEDDABLE))
    await world.outbox.intents.announce(PROJECT, "odd", LEGAL, [item.id for item in odd])
    await world.deliver()
    assert await world.outbox.dead_items.purge(100) == 0
    world.now += 200
    assert await world.outbox.dead_items.purge(100) == 1


async def test_a_link_that_is_not_drawn_is_drawn_later(world: BrainWorld):
    world.brain = IndexedBrain(world.graph, world.embed, MODEL, link_from=-1.0)
    first, second = await world.save("first", "second")
    # To open, to see which model, to write, to see the model again.
    world.graph.calls_left = 4
    assert await world.deliver() == 0
    assert sorted(await world.known()) == sorted([first, second])
    assert await read_neighbours(world.graph, PROJECT, first) == []
    world.graph.calls_left, world.graph.is_away = None, False
    world.now += 11
    assert await world.deliver() == 2
    assert [item.id for item in await read_neighbours(world.graph, PROJECT, first)] == [second]


async def test_an_intent_of_an_earlier_version_of_this_program_is_delivered(world: BrainWorld):
    ids = await world.save("first")
    (intent,) = await world.documents.find(OUTBOX, {})
    assert set(intent) == {"_id", "project", "seq", "department", "name", "number", "ids"}
    assert await world.deliver() == 1
    assert await world.known() == ids


# Evaluations


def ask_for(version: str, attempt: int = 1) -> EvaluationRequest:
    asked_at = datetime(2026, 1, 1, tzinfo=UTC)
    return EvaluationRequest(
        PROJECT, "legal", 1, version, "user-1", is_auto=True, attempt=attempt, requested_at=asked_at
    )


async def save_evaluation(world: BrainWorld, version: str, score: float, attempt: int = 1) -> None:
    name = evaluation_id(PROJECT, "legal", version)
    values = {"score": score, "attempt": attempt, "findings": [{"text": "not plain"}]}
    await world.documents.delete(EVALUATIONS, {"_id": name})
    await world.documents.insert(EVALUATIONS, [{"_id": name, "project_id": PROJECT, **values}])


async def stored_score(world: BrainWorld, version: str) -> float | None:
    """The score that the Brain has."""
    await EmbeddedGraph.open(world.graph)
    found = await read_evaluation(world.graph, PROJECT, "legal", version)
    return None if found is None else found["score"]


async def test_an_evaluation_is_delivered_after_the_items_that_came_before(world: BrainWorld):
    # An evaluation's intent names its department by its slug, as these do.
    legal = BrainDepartment("legal", "legal", 1)
    before = await world.save("before", department=legal)
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    await save_evaluation(world, "v1", 81.5)
    after = await world.save("after", department=legal)
    assert await world.deliver() == 3
    # In one batch they would have gone past it.
    assert world.graph.upserts == [before, after]
    found = await read_evaluation(world.graph, PROJECT, "legal", "v1")
    assert found == {"score": 81.5, "attempt": 1}
    assert await world.outbox.intents.count_by_project() == {}


async def test_an_evaluation_waits_while_the_brain_is_away(world: BrainWorld):
    world.graph.is_away = True
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    await save_evaluation(world, "v1", 81.5)
    assert await world.deliver() == 0
    (state,) = await world.outbox.states()
    assert (state.waiting, state.failures) == (1, 1)
    world.graph.is_away = False
    world.now += 11
    assert await world.deliver() == 1
    assert await stored_score(world, "v1") == 81.5


async def test_an_evaluation_that_was_never_saved_is_given_up_after_a_while(world: BrainWorld):
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    ids = await world.save("second")
    assert await world.deliver() == 0, "a run may be just about to save it"
    world.now += 61
    assert await world.deliver() == 1
    assert (await world.known(), await stored_score(world, "v1")) == (ids, None)
    assert await world.outbox.intents.count_by_project() == {}


async def test_what_a_killed_evaluation_left_does_not_take_along_that_of_the_next_attempt(
    world: BrainWorld,
):
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    world.now += 61
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    assert await world.deliver() == 0
    await save_evaluation(world, "v1", 81.5)
    assert await world.deliver() == 1
    assert await stored_score(world, "v1") == 81.5


async def test_a_forced_evaluation_is_not_taken_for_the_one_before(world: BrainWorld):
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    await save_evaluation(world, "v1", 70.0)
    await world.deliver()
    await world.outbox.intents.announce_evaluation(ask_for("v1", attempt=2))
    assert await world.deliver() == 0, "the second one is about to be saved"
    await save_evaluation(world, "v1", 90.0, attempt=2)
    assert await world.deliver() == 1
    assert await stored_score(world, "v1") == 90.0


async def test_of_two_attempts_that_waited_the_later_one_is_kept(world: BrainWorld):
    for attempt in (1, 2):
        await world.outbox.intents.announce_evaluation(ask_for("v1", attempt))
    await save_evaluation(world, "v1", 90.0, attempt=2)
    assert await world.deliver() == 2
    assert await stored_score(world, "v1") == 90.0


class Fussy(IndexedBrain):
    """Takes no evaluation."""

    error: Exception = Refused("brain", 422, "no such version")

    async def save_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        del project_id, department, version, values
        raise self.error


@pytest.mark.parametrize(
    "error",
    [Fussy.error, InvalidTask("invalid_id", "no")],
)
async def test_an_evaluation_that_nobody_wants_holds_nobody_up(world: BrainWorld, error: Exception):
    world.brain = Fussy(world.graph, world.embed, MODEL)
    world.brain.error = error
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    await save_evaluation(world, "v1", 81.5)
    ids = await world.save("after")
    assert await world.deliver() == 1
    assert await world.known() == ids
    assert await world.outbox.states() == []


async def test_a_brain_behind_http_is_sent_no_evaluation(world: BrainWorld):
    world.is_behind_http = True
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    await save_evaluation(world, "v1", 81.5)
    assert await world.deliver() == 0
    assert await world.outbox.states() == []
    assert await stored_score(world, "v1") is None


async def test_an_evaluation_that_is_refused_for_our_key_is_not_lost(world: BrainWorld):
    world.brain = Fussy(world.graph, world.embed, MODEL)
    world.brain.error = Refused("brain", 401, "no")
    await world.outbox.intents.announce_evaluation(ask_for("v1"))
    await save_evaluation(world, "v1", 81.5)
    assert await world.deliver() == 0
    (state,) = await world.outbox.states()
    assert state.waiting == 1
    assert "401" in state.reason
