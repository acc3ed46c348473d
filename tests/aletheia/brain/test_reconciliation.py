"""The Brain made to agree with the store (SPEC §4, Brain)."""

import asyncio
from dataclasses import replace

import pytest

from aletheia.brain import reconciliation
from aletheia.brain.index import IndexedBrain
from aletheia.brain.intents import OUTBOX
from aletheia.brain.items import BrainItems
from aletheia.brain.ports import BrainItem, ModelChanged, OtherModel
from aletheia.brain.reconciliation import Kind, Reconciled, Reconciler
from aletheia.errors import Unavailable
from aletheia.items.vector_cache import VectorCache
from tests.fakes.brain import (
    LEGAL,
    MODEL,
    NOT_EMBEDDABLE,
    PROJECT,
    SALES,
    BrainWorld,
    find_department,
    item_of,
    vector_of,
)
from tests.fakes.brain_graphs import read_evaluation, read_neighbours


async def reconcile(world: BrainWorld) -> Reconciled:
    return await make_reconciler(world).reconcile(PROJECT, world.items)


def make_reconciler(world: BrainWorld) -> Reconciler:
    return Reconciler(world.access, world.outbox, find_department)


def found(done: Reconciled) -> dict[Kind, list[str]]:
    assert done.before is not None
    return {kind: list(ids) for kind, ids in done.before.items() if ids}


def assert_none_left(done: Reconciled, items: int) -> None:
    assert done.after is not None
    assert (any(done.after.values()), done.in_store) == (False, items)


async def test_a_brain_that_knows_nothing_is_given_everything_in_its_order(world: BrainWorld):
    legal = await world.save(*(f"legal {n}" for n in range(3)))
    sales = await world.save("sales", department=SALES)
    legal += await world.save("newest")
    done = await reconcile(world)
    assert found(done) == {Kind.MISSING: sorted([*legal, *sales])}
    assert (done.upserted, done.deleted, done.failed) == (5, 0, ())
    assert_none_left(done, 5)
    assert await world.known("legal") == legal[::-1]
    assert await world.known("sales") == sales


async def test_every_kind_of_difference_is_found_and_repaired(world: BrainWorld):
    right, stale, moved, missing = [
        (await world.save(name))[0] for name in ("right", "stale", "moved", "missing")
    ]
    await world.deliver()
    await world.brain.upsert(PROJECT, LEGAL, [item_of(stale, "Another text."), item_of("extra")])
    saved = (await world.content.read_items([moved]))[moved]
    there = BrainItem(moved, saved.content, saved.summary, saved.context, vector_of(saved.content))
    await world.brain.upsert(PROJECT, SALES, [there])
    await world.graph.delete(PROJECT, [missing])
    done = await reconcile(world)
    assert found(done) == {
        Kind.MISSING: [missing],
        Kind.EXTRA: ["extra"],
        Kind.OTHER_DEPARTMENT: [moved],
        Kind.STALE: [stale],
    }
    assert (done.upserted, done.deleted) == (3, 1)
    assert_none_left(done, 4)
    assert sorted(await world.known("legal")) == sorted([right, stale, moved, missing])
    assert found(await reconcile(world)) == {}


async def test_what_agrees_is_not_written_again(world: BrainWorld):
    await world.save("first", "second")
    await world.deliver()
    writes = len(world.graph.upserts)
    asked = len(world.embed.texts)
    done = await reconcile(world)
    assert (found(done), done.upserted) == ({}, 0)
    assert_none_left(done, 2)
    assert (len(world.graph.upserts), len(world.embed.texts)) == (writes, asked)


async def test_another_embedding_model_has_everything_indexed_anew(world: BrainWorld):
    ids = await world.save("first", "second")
    await world.deliver()
    other = VectorCache(world.content, "another")
    world.items = BrainItems(world.content, other, world.embed)
    world.brain = IndexedBrain(world.graph, world.embed, "another")
    with pytest.raises(ModelChanged):
        await world.brain.find_duplicates(PROJECT, content="first", threshold=0.5)
    with pytest.raises(OtherModel, match="'another', not with 'tests/eight-numbers'"):
        await make_reconciler(world).adopt_model(MODEL)
    assert await make_reconciler(world).adopt_model("another")
    done = await reconcile(world)
    assert found(done) == {Kind.WITHOUT_VECTOR: sorted(ids)}
    assert_none_left(done, 2)
    assert len(await other.find([item.content for item in world.make("first", "second")])) == 2
    kept = await world.graph.read_model()
    assert kept is not None
    assert kept[0] == "another"
    assert len(await world.brain.find_duplicates(PROJECT, content="x", threshold=-1.0)) == 2
    assert not await make_reconciler(world).adopt_model("another")
    assert found(await reconcile(world)) == {}


async def test_documents_of_the_application_are_not_indexed(world: BrainWorld):
    (theirs,) = world.make("theirs")
    await world.content.insert_items([replace(theirs, automation=None)])
    ids = await world.save("ours")
    await world.brain.open()
    await world.brain.upsert(PROJECT, LEGAL, [item_of(theirs.id)])
    done = await reconcile(world)
    assert found(done) == {Kind.MISSING: ids, Kind.EXTRA: [theirs.id]}
    assert_none_left(done, 1)


async def test_an_item_that_the_brain_refuses_is_shown_and_tried_again_next_time(
    world: BrainWorld,
):
    (odd,) = world.make(NOT_EMBEDDABLE)
    await world.content.insert_items([odd])
    (good,) = await world.save("good")
    done = await reconcile(world)
    assert [(failure.id, failure.code) for failure in done.failed] == [(odd.id, "input_too_long")]
    assert done.after is not None
    assert list(done.after[Kind.MISSING]) == [odd.id]
    assert await world.known() == [good]
    assert [dead["item"] for dead in await world.outbox.dead_items.newest()] == [odd.id]

    world.embed.refused = ""
    done = await reconcile(world)
    assert_none_left(done, 2)
    assert await world.outbox.dead_items.newest() == []


async def test_what_is_saved_while_it_compares_is_not_deleted(world: BrainWorld):
    await world.save("first")
    await world.deliver()

    late: list[str] = []

    async def save_one() -> None:
        if not late:
            late.extend(await world.save("late"))
            await world.deliver()

    world.graph.after_listing = save_one
    done = await reconcile(world)
    assert (found(done).get(Kind.EXTRA), done.deleted) == (None, 0)
    assert late[0] in await world.known()


async def test_a_brain_that_goes_away_leaves_what_is_repaired(world: BrainWorld):
    await world.save(*(f"item {n}" for n in range(700)))
    world.graph.calls_left = 7
    with pytest.raises(Unavailable):
        await reconcile(world)
    assert 0 < len(await world.known()) < 700
    world.graph.calls_left, world.graph.is_away = None, False
    done = await reconcile(world)
    assert done.before is not None
    assert sum(map(len, done.before.values())) < 700
    assert_none_left(done, 700)


async def save_for_edges(world: BrainWorld) -> tuple[str, str]:
    """Save two items that are to be linked, and that nobody but reconciling will index."""
    world.brain = IndexedBrain(world.graph, world.embed, MODEL, link_from=-1.0)
    first, second = await world.save("first", "second")
    await world.documents.delete(OUTBOX, {})
    return first, second


async def test_edges_that_it_could_not_draw_are_drawn_later(world: BrainWorld):
    first, second = await save_for_edges(world)
    # To open, to list, to see which model, to write, to see the model again.
    world.graph.calls_left = 5
    with pytest.raises(Unavailable):
        await reconcile(world)
    assert sorted(await world.known()) == sorted([first, second])
    assert await read_neighbours(world.graph, PROJECT, first) == []
    world.graph.calls_left, world.graph.is_away = None, False
    assert found(await reconcile(world)) == {}, "edges are no difference"
    assert await world.deliver() == 2
    assert [neighbour.id for neighbour in await read_neighbours(world.graph, PROJECT, first)] == [
        second
    ]
    assert await world.outbox.states() == []


async def test_edges_are_drawn_later_if_it_is_killed_before(world: BrainWorld):
    first, second = await save_for_edges(world)
    is_linking = asyncio.Event()

    async def hang() -> None:
        is_linking.set()
        await asyncio.sleep(60)

    world.graph.before_linking = hang
    dying = asyncio.create_task(reconcile(world))
    await asyncio.wait_for(is_linking.wait(), 10)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    world.graph.before_linking = None
    assert await read_neighbours(world.graph, PROJECT, first) == []
    assert await world.deliver() == 2
    assert [neighbour.id for neighbour in await read_neighbours(world.graph, PROJECT, first)] == [
        second
    ]


async def test_what_it_has_written_waits_no_more_also_if_some_was_refused(world: BrainWorld):
    (odd,) = world.make(NOT_EMBEDDABLE)
    await world.content.insert_items([odd])
    await save_for_edges(world)
    done = await reconcile(world)
    assert (done.upserted, len(done.failed)) == (2, 1)
    assert await world.documents.count(OUTBOX, {}) == 0


async def test_what_waits_is_delivered_after_it_and_no_pause_is_kept(world: BrainWorld):
    world.graph.is_away = True
    await world.save("first")
    await world.deliver()
    world.graph.is_away = False
    reconciler = make_reconciler(world)
    await reconciler.reconcile(PROJECT, world.items)
    (state,) = await world.outbox.states()
    assert state.waiting == 1
    await reconciler.deliver_waiting(PROJECT, world.items)
    assert await world.outbox.states() == []


async def test_a_brain_that_hangs_afterwards_does_not_hold_it_up(
    world: BrainWorld, monkeypatch: pytest.MonkeyPatch
):
    await world.save("first")
    world.graph.wait_s = 30
    monkeypatch.setattr(reconciliation, "DELIVER_FOR_S", 0.2)
    async with asyncio.timeout(5):
        await make_reconciler(world).deliver_waiting(PROJECT, world.items)
    (state,) = await world.outbox.states()
    assert (state.waiting, state.failures) == (1, 1)


async def test_a_brain_behind_http_is_sent_everything_again(world: BrainWorld):
    ids = await world.save("first", "second")
    world.is_behind_http = True
    assert not await make_reconciler(world).adopt_model(MODEL)
    for _ in range(2):
        done = await reconcile(world)
        assert (done.before, done.after, done.upserted) == (None, None, 2)
        assert sorted(await world.known()) == sorted(ids)
    assert await world.documents.count(OUTBOX, {}) == 1, "the run's own intent"


async def test_a_brain_behind_http_whose_model_has_changed_is_not_called_in_order(
    world: BrainWorld,
):
    await world.save("first", "second")
    await world.deliver()
    world.brain = IndexedBrain(world.graph, world.embed, "another")
    world.is_behind_http = True
    with pytest.raises(ModelChanged, match="for a service, where its graph is at hand"):
        await reconcile(world)


EVALUATION = {
    "_id": "x",
    "department": "legal",
    "version": "v1",
    "score": 81.0,
    "threshold": 80.0,
    "findings": [{"text": "not plain"}],
    "mock": True,
}


async def test_evaluations_are_kept_beside_the_items(world: BrainWorld):
    assert await make_reconciler(world).save_evaluations(PROJECT, [EVALUATION]) == 1
    kept = await read_evaluation(world.graph, PROJECT, "legal", "v1")
    assert kept == {"score": 81.0, "threshold": 80.0, "mock": True}


async def test_a_brain_behind_http_is_given_no_evaluations(world: BrainWorld):
    world.is_behind_http = True
    assert await make_reconciler(world).save_evaluations(PROJECT, [EVALUATION]) == 0
