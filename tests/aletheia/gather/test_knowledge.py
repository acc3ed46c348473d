"""What a run asks of the Brain, and that it never waits for it (SPEC §4, Brain)."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.brain.access import BrainAccess
from aletheia.brain.index import IndexedBrain
from aletheia.brain.items import BrainItems
from aletheia.brain.ports import BrainDepartment, BrainItem
from aletheia.brain.reconciliation import Reconciler
from aletheia.documents import Document
from aletheia.errors import Misconfigured
from aletheia.gather.knowledge import CACHED_FOR_S, NEAR_FROM, Knowledge, RunCatalogue
from aletheia.gather.progress import RunOrder
from aletheia.gather.prompts.generate_items import PromptContext
from aletheia.gather.run_records import RUNS
from aletheia.items.departments import Department
from aletheia.items.vector_cache import VectorCache
from aletheia.store.clock import Clock
from tests.aletheia.gather.gather_runner import (
    MODEL,
    embed_words,
    make_deps,
    three_departments,
    work_run,
)
from tests.fakes.brain import (
    FIRST_AXIS,
    LEGAL,
    PROJECT,
    SALES,
    BrainWorld,
    find_department,
    vector_at,
)
from tests.fakes.departments import make_department


@pytest.fixture
def knowledge(world: BrainWorld, monkeypatch: pytest.MonkeyPatch) -> Knowledge:
    monkeypatch.setattr("aletheia.gather.knowledge.WAIT_S", 0.5)
    return Knowledge(world.access, world.outbox, PROJECT, world.project_items)


SUPPORT = make_department("support", 3)
QUERY = f"{SUPPORT.name}. {SUPPORT.description}"


async def fill(world: BrainWorld) -> None:
    """Index items at known cosines to what is asked for support."""
    (made,) = await world.project_items.embed([QUERY])
    await world.brain.open()
    near = [
        BrainItem("near", "A near item of sales.", "near", vector=made),
        BrainItem("far", "The opposite.", "far", vector=-made),
    ]
    await world.brain.upsert(PROJECT, SALES, near)
    own = [BrainItem("own", "An item of its own.", "own", vector=made)]
    await world.brain.upsert(PROJECT, replace(LEGAL, slug="support", name="Support"), own)


async def test_a_prompt_contains_gaps_and_what_is_near_in_other_departments(
    world: BrainWorld, knowledge: Knowledge
):
    await fill(world)
    notes = await knowledge.context(SUPPORT, {"own"}, [])
    assert notes.brain == ["A near item of sales."]
    assert {"customers", "feedback"} & set(notes.gaps)


async def test_what_earlier_departments_came_to_follows_what_is_near(
    world: BrainWorld, knowledge: Knowledge
):
    await fill(world)
    notes = await knowledge.context(SUPPORT, {"own"}, ["sales"])
    assert notes.brain == ["A near item of sales.", "The opposite."]


async def test_a_department_is_embedded_once(world: BrainWorld, knowledge: Knowledge):
    await fill(world)
    asked = len(world.embed.texts)
    for _ in range(3):
        await knowledge.context(SUPPORT, set(), [])
    assert len(world.embed.texts) == asked


async def test_while_the_brain_is_away_prompts_go_without_and_it_is_said_once(
    world: BrainWorld, knowledge: Knowledge, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "aletheia.gather.knowledge")
    await fill(world)
    world.graph.is_away = True
    for _ in range(7):
        assert await knowledge.context(SUPPORT, set(), []) == PromptContext()
    assert caplog.text.count("prompts go without the Brain") == 1
    world.graph.is_away = False
    world.now += 61
    assert (await knowledge.context(SUPPORT, {"own"}, [])).brain
    assert caplog.text.count("what the Brain knows again") == 1


async def test_a_slow_brain_is_not_waited_for(world: BrainWorld, knowledge: Knowledge):
    await fill(world)
    world.graph.wait_s = 30
    began = asyncio.get_running_loop().time()
    for _ in range(8):
        assert await knowledge.context(SUPPORT, set(), []) == PromptContext()
    # Five of half a second open its breaker; after that it is not asked any more.
    assert asyncio.get_running_loop().time() - began < 4.5


async def test_vectors_of_another_model_are_as_none(world: BrainWorld, knowledge: Knowledge):
    await fill(world)
    world.brain = IndexedBrain(world.graph, world.embed, "another")
    assert await knowledge.context(SUPPORT, set(), []) == PromptContext()


async def test_a_brain_that_cannot_even_be_built_stops_nothing(world: BrainWorld):
    async def fetch() -> IndexedBrain:
        raise Misconfigured("NEO4J_URI", "is none")

    access = BrainAccess(fetch, world.breakers)
    knowledge = Knowledge(access, world.outbox, PROJECT, world.project_items)
    assert await knowledge.context(SUPPORT, set(), []) == PromptContext()


async def test_what_is_not_near_is_left_out(world: BrainWorld, knowledge: Knowledge):
    world.embed.fixed[QUERY] = FIRST_AXIS
    await world.brain.open()
    at = {"in": NEAR_FROM + 0.01, "out": NEAR_FROM - 0.01}
    items = [BrainItem(name, name, vector=vector_at(cosine)) for name, cosine in at.items()]
    await world.brain.upsert(PROJECT, SALES, items)
    notes = await knowledge.context(SUPPORT, set(), [])
    assert notes.brain == ["in"]


@pytest.mark.parametrize("calls_left", [0, 7, 20])
async def test_a_run_whose_brain_goes_away_completes_and_nothing_differs_in_the_end(
    world: BrainWorld, tmp_path: Path, calls_left: int
):
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    deps = make_deps(documents, world.content, MockChat())
    world.brain = IndexedBrain(world.graph, embed_words, MODEL)
    items = BrainItems(world.content, VectorCache(world.content, MODEL), embed_words)
    knowledge = Knowledge(world.access, world.outbox, PROJECT, deps.items)
    world.graph.calls_left = calls_left
    async with world.outbox.feeding(PROJECT, world.access, items):
        _, report = await work_run(
            replace(deps, brain=knowledge),
            RunOrder("run-1", PROJECT, "user-1", 6),
            three_departments(),
        )
    await documents.close()
    assert report.status == "completed"
    assert report.items_created > 0
    known = {slug: await world.known(slug) for slug in ("legal", "support", "finance")}
    assert sum(map(len, known.values())) < report.items_created, "it was away"

    world.graph.calls_left, world.graph.is_away = None, False
    world.now += 700
    reconciler = Reconciler(world.access, world.outbox, find_department)
    done = await reconciler.reconcile(PROJECT, items)
    assert done.before is not None
    assert done.after is not None
    assert any(done.before.values())
    assert (any(done.after.values()), done.in_store) == (False, report.items_created)
    assert done.failed == ()
    await world.outbox.deliver(PROJECT, world.access, items)
    assert await world.outbox.states() == []
    again = await reconciler.reconcile(PROJECT, items)
    assert again.before is not None
    assert (any(again.before.values()), again.upserted, again.deleted) == (False, 0, 0)


def make_run(run_id: str, project_id: str, at: float, **descriptions: str) -> Document:
    departments = [
        Department(
            id=slug,
            slug=slug,
            name=slug.title(),
            description=description,
            code_dep_number=number,
            gather_check=True,
            is_active=True,
        ).model_dump(mode="json")
        for number, (slug, description) in enumerate(descriptions.items(), 1)
    ]
    return {"_id": run_id, "project_id": project_id, "opened_at": at, "departments": departments}


async def test_a_department_is_as_the_newest_run_of_its_project_has_it(
    documents: EmbeddedDocuments,
):
    await documents.insert(
        RUNS,
        [
            make_run("1", "shop", 1.0, legal="Old words.", gone="Was there."),
            make_run("2", "shop", 3.0, hr="Hires.", legal="Reviews contracts."),
            make_run("3", "shop", 2.0, legal="Older words."),
            make_run("4", "another", 4.0, legal="Of somebody else."),
        ],
    )
    find = RunCatalogue(documents)
    assert await find("shop", "legal") == BrainDepartment("legal", "Legal", 2, "Reviews contracts.")
    assert await find("shop", "gone") is None
    assert await find("nobody", "legal") is None


async def test_a_department_is_read_again_after_some_seconds(documents: EmbeddedDocuments):
    now = [0.0]
    find = RunCatalogue(documents, clock=Clock(steady_s=lambda: now[0]))
    await documents.insert(RUNS, [make_run("1", "shop", 1.0, legal="Old words.")])
    assert await find("shop", "legal") == BrainDepartment("legal", "Legal", 1, "Old words.")
    await documents.insert(RUNS, [make_run("2", "shop", 2.0, legal="New words.")])
    now[0] += CACHED_FOR_S - 1
    assert await find("shop", "legal") == BrainDepartment("legal", "Legal", 1, "Old words.")
    now[0] += 1
    assert await find("shop", "legal") == BrainDepartment("legal", "Legal", 1, "New words.")
