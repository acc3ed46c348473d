"""What every backend of the Brain does alike.

`brain` is whatever answers the four calls, `graph` whatever keeps items, `indexed` a Brain over
that same graph.
"""

import asyncio
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.adapters.brain.service import BrainService
from aletheia.brain.forms import fingerprint_of
from aletheia.brain.graph import NEIGHBOURS, BrainGraph, IndexedItem
from aletheia.brain.index import IndexedBrain
from aletheia.brain.ports import (
    Brain,
    BrainDepartment,
    BrainItem,
    DepartmentContext,
    FailedItem,
    KnownItem,
    ModelChanged,
    OtherModel,
    Upserted,
)
from aletheia.errors import InvalidTask
from aletheia.items.departments import Department
from aletheia.llm.messages import estimate_tokens
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import score_quality
from tests.aletheia.adapters.brain.conftest import reached
from tests.fakes.brain import (
    DIMENSIONS,
    FIRST_AXIS,
    LEGAL,
    MODEL,
    NOT_EMBEDDABLE,
    PROJECT,
    SALES,
    FakeEmbed,
    item_of,
    vector_at,
    vector_of,
)
from tests.fakes.brain_app import BRAIN_KEY, make_brain_app
from tests.fakes.brain_graphs import read_evaluation, read_neighbours
from tests.fakes.serving import serving

pytestmark = pytest.mark.timeout(180)  # the start of a Neo4j counts towards the first test

HOSTILE = [
    "'; DROP TABLE items; --",
    'x"}) DETACH DELETE (n) //',
    "`Item` {id: $id} RETURN 1",
    "${jndi:ldap://127.0.0.1}",
    "$ne",
    "a\x00b",
    "../../etc/passwd",
    "Ünïcödé 漢字 \U0001f600 \u202e",
    " blank ",
    '{"$oid": "65f000000000000000000000"}',
]


async def find_ids(
    brain: Brain, vector: NDArray[np.float32], threshold: float, project: str = PROJECT
) -> list[str]:
    found = await brain.find_duplicates(project, vector=vector, threshold=threshold, limit=2000)
    return [hit.id for hit in found]


# Upserting


async def test_an_item_is_created_once_and_updated_afterwards(brain: Brain):
    items = [item_of("a"), item_of("b")]
    assert await brain.upsert(PROJECT, LEGAL, items) == Upserted(2, 0)
    assert await brain.upsert(PROJECT, LEGAL, [*items, item_of("c")]) == Upserted(1, 2)


async def test_of_two_items_with_one_id_the_last_counts(brain: Brain):
    twice = [item_of("a", "The first text."), item_of("a", "The last text.")]
    assert await brain.upsert(PROJECT, LEGAL, twice) == Upserted(1, 0)
    (found,) = await brain.find_duplicates(PROJECT, content="The last text.", threshold=0.99)
    assert (found.id, found.content) == ("a", "The last text.")


async def test_a_changed_item_is_found_as_it_is_now(brain: Brain):
    await brain.upsert(PROJECT, LEGAL, [item_of("a", "Before.")])
    await brain.upsert(PROJECT, LEGAL, [item_of("a", "After.")])
    assert await brain.find_duplicates(PROJECT, content="Before.", threshold=0.99) == []
    (found,) = await brain.find_duplicates(PROJECT, content="After.", threshold=0.99)
    assert found.content == "After."
    context = await brain.read_context(PROJECT, LEGAL, max_tokens=1000)
    assert [item.content for item in context.items] == ["After."]


async def test_upserts_at_once_leave_every_item_once(brain: Brain):
    items = [item_of(f"i{n}") for n in range(30)]
    calls = [brain.upsert(PROJECT, LEGAL, items[n : n + 20]) for n in (0, 5, 10, 0, 10)]
    answers = await asyncio.gather(*calls)
    assert sum(answer.created for answer in answers) == 30
    assert sum(answer.updated for answer in answers) == 70
    ids = await find_ids(brain, FIRST_AXIS, -1.0)
    assert sorted(ids) == sorted(item.id for item in items)


async def test_an_item_that_moves_is_in_its_new_department_only(brain: Brain):
    await brain.upsert(PROJECT, LEGAL, [item_of("a"), item_of("b")])
    assert await brain.upsert(PROJECT, SALES, [item_of("a")]) == Upserted(0, 1)
    legal = await brain.read_context(PROJECT, LEGAL, max_tokens=1000)
    sales = await brain.read_context(PROJECT, SALES, max_tokens=1000)
    assert [item.id for item in legal.items] == ["b"]
    assert [item.id for item in sales.items] == ["a"]


async def test_more_items_than_fit_into_one_statement_are_all_taken(brain: Brain):
    items = [item_of(f"i{n:04}") for n in range(1200)]
    assert await brain.upsert(PROJECT, LEGAL, items) == Upserted(1200, 0)
    assert len(await find_ids(brain, FIRST_AXIS, -1.0)) == 1200


async def test_no_items_are_no_work(brain: Brain):
    assert await brain.upsert(PROJECT, LEGAL, []) == Upserted(0, 0)


async def test_an_item_without_a_vector_is_embedded(brain: Brain, embed: FakeEmbed):
    bare = BrainItem("a", "Nobody has embedded this.")
    assert await brain.upsert(PROJECT, LEGAL, [bare, item_of("b")]) == Upserted(2, 0)
    assert embed.texts == ["Nobody has embedded this."]
    (found,) = await brain.find_duplicates(
        PROJECT, vector=vector_of("Nobody has embedded this."), threshold=0.99
    )
    assert (found.id, found.score) == ("a", pytest.approx(1.0, abs=0.001))


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        pytest.param(np.ones(DIMENSIONS + 1, np.float32), "wrong_dimensions", id="too long"),
        pytest.param(np.ones(3, np.float32), "wrong_dimensions", id="too short"),
        pytest.param(np.zeros(DIMENSIONS, np.float32), "invalid_vector", id="no direction"),
        pytest.param(np.full(DIMENSIONS, np.nan, np.float32), "invalid_vector", id="not a number"),
        pytest.param(np.full(DIMENSIONS, np.inf, np.float32), "invalid_vector", id="infinite"),
    ],
)
async def test_an_item_with_a_bad_vector_fails_alone(
    brain: Brain, vector: NDArray[np.float32], code: str
):
    items = [item_of("a"), item_of("bad", vector=vector), item_of("b")]
    expected = Upserted(2, 0, (FailedItem("bad", code),))
    assert await brain.upsert(PROJECT, LEGAL, items) == expected
    assert sorted(await find_ids(brain, FIRST_AXIS, -1.0)) == ["a", "b"]


async def test_an_item_that_cannot_be_embedded_fails_alone(brain: Brain):
    bare = [BrainItem(f"i{n}", f"Text {n}.") for n in range(5)]
    bare[3] = BrainItem("i3", NOT_EMBEDDABLE)
    answer = await brain.upsert(PROJECT, LEGAL, bare)
    assert answer == Upserted(4, 0, (FailedItem("i3", "input_too_long"),))


# Finding


async def test_duplicates_come_in_falling_order_of_their_raw_cosine(brain: Brain):
    cosines = {"far": 0.1, "near": 0.95, "same": 1.0, "apart": -0.6, "middle": 0.5}
    items = [item_of(name, vector=vector_at(at)) for name, at in cosines.items()]
    await brain.upsert(PROJECT, LEGAL, items)
    found = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=-1.0)
    assert [hit.id for hit in found] == ["same", "near", "middle", "far", "apart"]
    for hit in found:
        assert hit.score == pytest.approx(cosines[hit.id], abs=0.001)
        assert hit.content == f"Content of {hit.id}."


@pytest.mark.parametrize("length", [1e-3, 1.0, 250.0])
async def test_the_length_of_a_vector_makes_no_difference(brain: Brain, length: float):
    scaled = vector_at(0.8) * np.float32(length)
    await brain.upsert(PROJECT, LEGAL, [item_of("a", vector=scaled)])
    (found,) = await brain.find_duplicates(
        PROJECT, vector=FIRST_AXIS * np.float32(length), threshold=0.5
    )
    assert found.score == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize("cosine", [0.8, 0.9, 0.70710678, 0.6, 0.0, -0.5, 1.0])
async def test_an_item_exactly_at_the_threshold_is_found(brain: Brain, cosine: float):
    await brain.upsert(PROJECT, LEGAL, [item_of("a", vector=vector_at(cosine))])
    at = round(cosine, 6)
    assert await find_ids(brain, FIRST_AXIS, at) == ["a"]
    if at < 1:
        assert await find_ids(brain, FIRST_AXIS, at + 0.001) == []


async def test_a_score_is_a_threshold_that_its_item_reaches(brain: Brain):
    await brain.upsert(PROJECT, LEGAL, [item_of(f"i{n}") for n in range(40)])
    query = vector_of("something else")
    found = await brain.find_duplicates(PROJECT, vector=query, threshold=-1.0, limit=40)
    for place in (0, 7, 39):
        ids = await find_ids(brain, query, found[place].score)
        assert ids == [hit.id for hit in found[: place + 1]]


async def test_equals_come_in_the_order_of_their_ids(brain: Brain):
    items = [item_of(name, vector=vector_at(0.9)) for name in ("c", "a", "e", "b", "d")]
    await brain.upsert(PROJECT, LEGAL, items)
    found = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5, limit=3)
    assert [hit.id for hit in found] == ["a", "b", "c"]


async def test_no_more_than_the_limit_is_found(brain: Brain):
    items = [item_of(f"i{n:02}", vector=vector_at(1 - n / 100)) for n in range(30)]
    await brain.upsert(PROJECT, LEGAL, items)
    ten = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5)
    assert [hit.id for hit in ten] == [f"i{n:02}" for n in range(10)]
    (first,) = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5, limit=1)
    assert first.id == "i00"


async def test_a_project_finds_nothing_of_another_one(brain: Brain):
    await brain.upsert(PROJECT, LEGAL, [item_of("a", vector=vector_at(0.9))])
    await brain.upsert("project-2", LEGAL, [item_of("a", "Another one.", vector_at(0.8))])
    (here,) = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.0)
    (there,) = await brain.find_duplicates("project-2", vector=FIRST_AXIS, threshold=0.0)
    assert (here.content, there.content) == ("Content of a.", "Another one.")
    context = await brain.read_context("project-2", LEGAL, max_tokens=1000)
    assert [item.content for item in context.items] == ["Another one."]


async def test_every_duplicate_in_a_small_project_beside_a_large_one_is_found(brain: Brain):
    near = [item_of(f"n{n}", vector=vector_at(0.99, 1 + n % 7)) for n in range(2000)]
    await brain.upsert("large", LEGAL, near)
    small = [item_of(f"s{n}", vector=vector_at(0.9 - n / 20)) for n in range(5)]
    await brain.upsert("small", LEGAL, small)
    assert await find_ids(brain, FIRST_AXIS, 0.65, "small") == ["s0", "s1", "s2", "s3", "s4"]


async def test_an_empty_project_has_no_duplicates(brain: Brain):
    assert await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=-1.0) == []
    await brain.upsert("project-2", LEGAL, [item_of("a")])
    assert await brain.find_duplicates(PROJECT, content="anything", threshold=-1.0) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param({}, "missing_query", id="nothing"),
        pytest.param({"content": "  "}, "missing_query", id="blank"),
        pytest.param({"vector": np.ones(5, np.float32)}, "wrong_dimensions", id="too short"),
        pytest.param({"vector": np.zeros(DIMENSIONS, np.float32)}, "invalid_vector", id="zero"),
    ],
)
async def test_a_query_that_cannot_be_compared_is_refused(
    brain: Brain, query: dict[str, Any], code: str
):
    await brain.upsert(PROJECT, LEGAL, [item_of("a")])
    with pytest.raises(InvalidTask) as refused:
        await brain.find_duplicates(PROJECT, **query, threshold=0.5)
    assert refused.value.code == code


# Context and coverage


def tokens_of(context: DepartmentContext) -> int:
    items = [*context.items, *(item for earlier in context.previous for item in earlier.items)]
    texts = [text for item in items for text in (item.content, item.summary, item.context)]
    texts += [earlier.summary for earlier in context.previous] + list(context.gaps)
    return sum(estimate_tokens(text) for text in texts)


async def fill(brain: Brain) -> None:
    for department in (LEGAL, SALES):
        for n in range(12):
            content = f"{department.name} item {n} says something about its subject."
            await brain.upsert(PROJECT, department, [item_of(f"{department.slug}-{n:02}", content)])


async def test_a_context_has_the_newest_items_first_then_earlier_departments_then_gaps(
    brain: Brain,
):
    await fill(brain)
    context = await brain.read_context(PROJECT, SALES, ["legal", "unknown"], max_tokens=5000)
    assert context.department == "sales"
    assert [item.id for item in context.items] == [f"sales-{n:02}" for n in reversed(range(12))]
    (legal,) = context.previous
    assert legal.department == "legal"
    assert [item.id for item in legal.items] == [f"legal-{n:02}" for n in (11, 10, 9, 8, 7)]
    assert legal.summary.startswith("Legal: Gist of legal-11 Gist of legal-10")
    assert context.gaps
    assert set(context.gaps) <= {"customers", "offers"}


async def test_an_item_that_is_upserted_again_keeps_its_place(brain: Brain):
    await brain.upsert(PROJECT, LEGAL, [item_of("first")])
    await brain.upsert(PROJECT, LEGAL, [item_of("second")])
    await brain.upsert(PROJECT, LEGAL, [item_of("first", "Changed.")])
    context = await brain.read_context(PROJECT, LEGAL, max_tokens=1000)
    assert [item.id for item in context.items] == ["second", "first"]


@pytest.mark.parametrize("max_tokens", [1, 20, 60, 150, 400, 1000])
async def test_a_context_is_never_larger_than_asked_for(brain: Brain, max_tokens: int):
    await fill(brain)
    contexts = [
        await brain.read_context(PROJECT, SALES, ["legal"], max_tokens=max_tokens) for _ in range(2)
    ]
    assert contexts[0] == contexts[1]
    assert tokens_of(contexts[0]) <= max_tokens
    ids = [item.id for item in contexts[0].items]
    assert ids == [f"sales-{n:02}" for n in reversed(range(12))][: len(ids)]


async def test_where_tokens_are_left_no_kind_is_left_out(brain: Brain):
    await fill(brain)
    context = await brain.read_context(PROJECT, SALES, ["legal"], max_tokens=400)
    assert context.items
    assert context.previous
    assert context.gaps


async def test_a_department_without_items_has_nothing_but_gaps(brain: Brain):
    context = await brain.read_context(PROJECT, LEGAL, max_tokens=1000)
    assert (context.items, context.previous) == ((), ())
    assert "contracts" in context.gaps


async def test_a_description_that_comes_along_names_the_aspects(indexed: IndexedBrain):
    garden = BrainDepartment("garden", "Garden", 9, "Waters the flowers and feeds the birds.")
    context = await indexed.read_context(PROJECT, garden, max_tokens=1000)
    coverage = await indexed.measure_coverage(PROJECT, garden)
    assert "birds" in str(context.gaps)
    assert [aspect.name for aspect in coverage.aspects[:-1]] == list(context.gaps)


ITEMS = [
    KnownItem(
        f"c{n}",
        f"The legal lead checks contracts number {n} with suppliers within {n + 2} working days, "
        f"against clause list {n}, and records every deviation in register {n} for the board.",
    )
    for n in range(3)
]


async def test_coverage_is_that_of_the_quality_gate(brain: Brain):
    items = [BrainItem(item.id, item.content, vector=vector_of(item.id)) for item in ITEMS]
    for item in items:
        await brain.upsert(PROJECT, LEGAL, [item])
    department = Department(
        id="1",
        slug="legal",
        name="Legal",
        description=LEGAL.description,
        gather_check=True,
        is_active=True,
    )
    rows = [QualityItem(item.id, item.content) for item in ITEMS]
    expected = score_quality(department, rows).parts["coverage"]
    coverage = await brain.measure_coverage(PROJECT, LEGAL)
    assert coverage.score == pytest.approx(expected.score)
    assert coverage.score > 0
    assert [
        (aspect.name, aspect.covered, list(aspect.evidence)) for aspect in coverage.aspects
    ] == [
        (aspect["aspect"], pytest.approx(aspect["covered"]), aspect["item_ids"])
        for aspect in expected.evidence["aspects"]
    ]
    assert await brain.measure_coverage(PROJECT, LEGAL, ITEMS) == coverage


async def test_coverage_of_named_items_is_theirs_alone(brain: Brain):
    await brain.upsert(PROJECT, LEGAL, [BrainItem(item.id, item.content) for item in ITEMS])
    nothing = await brain.measure_coverage(PROJECT, LEGAL, [])
    assert nothing.score == 0
    assert [aspect.evidence for aspect in nothing.aspects] == [()] * len(nothing.aspects)


# Hostile names


@pytest.mark.parametrize("text", HOSTILE)
async def test_ids_names_and_texts_are_data_whatever_they_look_like(brain: Brain, text: str):
    department = BrainDepartment(text, text, 3)
    item = BrainItem(text, text, text, text, vector_at(0.9))
    await brain.upsert(PROJECT, LEGAL, [item_of("other")])
    assert await brain.upsert(PROJECT, department, [item]) == Upserted(1, 0)
    assert await brain.upsert(PROJECT, department, [item]) == Upserted(0, 1)
    (found,) = await brain.find_duplicates(PROJECT, vector=vector_at(0.9), threshold=0.99)
    assert (found.id, found.content) == (text, text)
    context = await brain.read_context(PROJECT, department, [text], max_tokens=1000)
    assert context.items == (KnownItem(text, text, text, text),)
    assert [earlier.department for earlier in context.previous] == [text]
    assert len(await find_ids(brain, FIRST_AXIS, -1.0)) == 2


async def test_ids_that_differ_in_case_or_form_only_are_two(brain: Brain):
    ids = ["id", "ID", "\u00e9", "e\u0301", "id "]
    assert await brain.upsert(PROJECT, LEGAL, [item_of(item_id) for item_id in ids]) == Upserted(
        5, 0
    )
    assert sorted(await find_ids(brain, FIRST_AXIS, -1.0)) == sorted(ids)


async def test_a_project_that_is_none_is_refused(brain: Brain):
    with pytest.raises(InvalidTask) as refused:
        await brain.upsert("a/b", LEGAL, [item_of("a")])
    assert refused.value.code == "invalid_project_id"


# What a graph keeps


async def test_items_are_listed_in_pages_with_what_is_to_be_compared(
    indexed: IndexedBrain, graph: BrainGraph
):
    items = [item_of(f"i{n}") for n in range(7)]
    await indexed.upsert(PROJECT, LEGAL, items[:5])
    await indexed.upsert(PROJECT, SALES, items[5:])
    await indexed.upsert("project-2", SALES, [item_of("another")])
    pages: list[list[IndexedItem]] = []
    after = ""
    while page := await graph.list_items(PROJECT, after=after, limit=3):
        pages.append(page)
        after = page[-1].id
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [item for page in pages for item in page] == [
        IndexedItem(one.id, "legal" if n < 5 else "sales", fingerprint_of(one), has_vector=True)
        for n, one in enumerate(items)
    ]


async def test_a_deleted_item_is_gone(indexed: IndexedBrain, graph: BrainGraph):
    items = [item_of(f"i{n}") for n in range(4)]
    await indexed.upsert(PROJECT, LEGAL, items)
    await indexed.upsert("project-2", LEGAL, items)
    await graph.link(PROJECT, [item.id for item in items], threshold=-1.0)
    assert len(await find_ids(indexed, FIRST_AXIS, -1.0)) == 4
    assert await graph.delete(PROJECT, ["i1", "i3", "unknown"]) == 2
    assert await graph.delete(PROJECT, ["i1"]) == 0
    assert sorted(await find_ids(indexed, FIRST_AXIS, -1.0)) == ["i0", "i2"]
    assert [item.id for item in await graph.list_newest(PROJECT, "legal", 10)] == ["i2", "i0"]
    assert [neighbour.id for neighbour in await read_neighbours(graph, PROJECT, "i0")] == ["i2"]
    assert len(await graph.list_items("project-2")) == 4
    assert await indexed.upsert(PROJECT, LEGAL, [items[1]]) == Upserted(1, 0)
    assert sorted(await find_ids(indexed, FIRST_AXIS, -1.0)) == ["i0", "i1", "i2"]


async def test_edges_lead_to_the_nearest_neighbours(indexed: IndexedBrain, graph: BrainGraph):
    angles = [n * math.pi / 180 for n in range(30)]
    items = [item_of(f"i{n:02}", vector=vector_at(math.cos(at))) for n, at in enumerate(angles)]
    await indexed.upsert(PROJECT, LEGAL, items)
    assert await graph.link(PROJECT, ["i00", "i15", "unknown"], threshold=0.5) == 2 * NEIGHBOURS
    near = await read_neighbours(graph, PROJECT, "i00")
    assert [neighbour.id for neighbour in near] == [f"i{n:02}" for n in range(1, 11)]
    for one, at in zip(near, angles[1:], strict=False):
        assert one.score == pytest.approx(math.cos(at), abs=0.001)
    around = await read_neighbours(graph, PROJECT, "i15")
    assert {neighbour.id for neighbour in around} == {f"i{n}" for n in range(10, 21)} - {"i15"}
    assert await read_neighbours(graph, PROJECT, "i01") == []


async def test_edges_are_drawn_anew(indexed: IndexedBrain, graph: BrainGraph):
    items = [item_of(name, vector=vector_at(at)) for name, at in (("a", 1), ("b", 0.9), ("c", 0))]
    await indexed.upsert(PROJECT, LEGAL, items)
    assert await graph.link(PROJECT, ["a"], threshold=0.5) == 1
    await indexed.upsert(PROJECT, LEGAL, [item_of("b", vector=vector_at(0, 2))])
    assert await graph.link(PROJECT, ["a"], threshold=0.5) == 0
    assert await read_neighbours(graph, PROJECT, "a") == []
    assert await graph.link(PROJECT, ["a"], threshold=-1.0) == 2


async def test_what_is_upserted_is_linked(graph: BrainGraph, embed: FakeEmbed):
    brain = IndexedBrain(graph, embed, MODEL, DIMENSIONS, link_from=0.9)
    await brain.upsert(PROJECT, LEGAL, [item_of("old", vector=vector_at(0.99))])
    bad = item_of("bad", vector=np.zeros(DIMENSIONS, np.float32))
    near = [item_of("a", vector=FIRST_AXIS), bad, item_of("b", vector=vector_at(0.95))]
    await brain.upsert(PROJECT, SALES, [*near, item_of("far", vector=vector_at(0.5))])
    assert [neighbour.id for neighbour in await read_neighbours(graph, PROJECT, "a")] == [
        "old",
        "b",
    ]
    assert [neighbour.id for neighbour in await read_neighbours(graph, PROJECT, "b")] == [
        "old",
        "a",
    ]
    assert await read_neighbours(graph, PROJECT, "far") == []
    # An edge leads from what is indexed to what is there by then.
    assert await read_neighbours(graph, PROJECT, "old") == []
    nothing = Upserted(0, 0, (FailedItem("bad", "invalid_vector"),))
    assert await brain.upsert(PROJECT, LEGAL, [bad]) == nothing


async def test_edges_stay_within_the_project(indexed: IndexedBrain, graph: BrainGraph):
    await indexed.upsert(PROJECT, LEGAL, [item_of("a")])
    await indexed.upsert("project-2", LEGAL, [item_of("a"), item_of("b")])
    assert await graph.link(PROJECT, ["a"], threshold=-1.0) == 0


async def test_evaluations_are_kept_by_version(graph: BrainGraph):
    values = {"score": 81.5, "evaluated_at": "2026-01-01T00:00:00+00:00", "judged": True}
    await graph.save_evaluation(PROJECT, "legal", "v1", values)
    await graph.save_evaluation(PROJECT, "legal", "v2", {"score": 82.0})
    await graph.save_evaluation(PROJECT, "legal", "v2", {"score": 83.0})
    assert await read_evaluation(graph, PROJECT, "legal", "v1") == values
    assert await read_evaluation(graph, PROJECT, "legal", "v2") == {"score": 83.0}
    assert await read_evaluation(graph, PROJECT, "sales", "v1") is None
    assert await read_evaluation(graph, "project-2", "legal", "v1") is None


async def test_an_evaluation_reaches_the_graph(graph: BrainGraph, indexed: IndexedBrain):
    values = {"score": 81.5, "attempt": 2, "at": "2026-01-01T00:00:00+00:00", "mock": False}
    for slug in ("legal", *HOSTILE):
        await indexed.save_evaluation(PROJECT, slug, "v1", {"score": 1.0})
        await indexed.save_evaluation(PROJECT, slug, "v1", values)
        assert await read_evaluation(graph, PROJECT, slug, "v1") == values, slug
    assert await read_evaluation(graph, PROJECT, "legal", "v2") is None
    with pytest.raises(InvalidTask) as refused:
        await indexed.save_evaluation("a/b", "legal", "v1", values)
    assert refused.value.code == "invalid_project_id"


# Another embedding model


async def test_only_the_model_that_a_brain_embeds_with_is_adopted(
    graph: BrainGraph, indexed: IndexedBrain, embed: FakeEmbed
):
    await indexed.upsert(PROJECT, LEGAL, [item_of("a")])
    changed = IndexedBrain(graph, embed, "tests/another", DIMENSIONS)
    with pytest.raises(OtherModel) as other:
        await changed.adopt_model(MODEL)
    assert (other.value.own, other.value.asked) == ("tests/another", MODEL)
    assert await graph.read_model() == (MODEL, DIMENSIONS)


async def test_behind_http_another_model_is_refused_until_its_graph_has_adopted_it(
    graph: BrainGraph, indexed: IndexedBrain, embed: FakeEmbed
):
    await indexed.upsert(PROJECT, LEGAL, [item_of("a")])
    changed = IndexedBrain(graph, embed, "tests/another", DIMENSIONS)
    async with reached(changed, is_over_http=True) as client:
        with pytest.raises(ModelChanged):
            await client.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5)
        assert await changed.adopt_model("tests/another")
        assert await find_ids(client, FIRST_AXIS, -1.0) == []
        assert await client.upsert(PROJECT, LEGAL, [item_of("a")]) == Upserted(0, 1)
        assert await find_ids(client, FIRST_AXIS, -1.0) == ["a"]


async def test_vectors_of_another_model_never_get_through_to_a_service(
    graph: BrainGraph, indexed: IndexedBrain
):
    async with serving(make_brain_app(indexed)) as url:
        client = BrainService(
            url,
            api_key=BRAIN_KEY,
            model="mock of the same length",
            max_retries=0,
        )
        await client.open()
        for call in (
            client.upsert(PROJECT, LEGAL, [item_of("a")]),
            client.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5),
        ):
            with pytest.raises(OtherModel) as other:
                await call
            assert (other.value.own, other.value.asked) == (MODEL, "mock of the same length")
        assert await graph.list_items(PROJECT) == []
        # What the service embeds itself is of its own model.
        assert await client.upsert(PROJECT, LEGAL, [BrainItem("b", "B.")]) == Upserted(1, 0)
        await client.close()


async def test_vectors_of_another_model_are_refused_until_all_is_made_anew(
    indexed: IndexedBrain, graph: BrainGraph, embed: FakeEmbed
):
    items = [item_of("a"), item_of("b")]
    await indexed.upsert(PROJECT, LEGAL, items)
    await graph.link(PROJECT, ["a"], threshold=-1.0)
    changed = IndexedBrain(graph, embed, "tests/another", DIMENSIONS)
    with pytest.raises(ModelChanged) as refused:
        await changed.upsert(PROJECT, LEGAL, items)
    assert (refused.value.kept, refused.value.asked) == (MODEL, "tests/another")
    with pytest.raises(ModelChanged):
        await changed.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.5)
    with pytest.raises(ModelChanged):
        await changed.read_context(PROJECT, LEGAL, max_tokens=100)
    assert len(await find_ids(indexed, FIRST_AXIS, -1.0)) == 2

    assert await changed.adopt_model("tests/another")
    assert not await changed.adopt_model("tests/another")
    assert await graph.read_model() == ("tests/another", DIMENSIONS)
    assert await find_ids(changed, FIRST_AXIS, -1.0) == []
    assert [item.has_vector for item in await graph.list_items(PROJECT)] == [False, False]
    assert await read_neighbours(graph, PROJECT, "a") == []
    with pytest.raises(ModelChanged):
        await indexed.upsert(PROJECT, LEGAL, items)
    assert await changed.upsert(PROJECT, LEGAL, items) == Upserted(0, 2)
    assert sorted(await find_ids(changed, FIRST_AXIS, -1.0)) == ["a", "b"]
    assert [item.has_vector for item in await graph.list_items(PROJECT)] == [True, True]


async def test_another_length_of_vectors_is_another_model(
    indexed: IndexedBrain, graph: BrainGraph, embed: FakeEmbed
):
    await indexed.upsert(PROJECT, LEGAL, [item_of("a")])
    longer = IndexedBrain(graph, embed, MODEL, 12)
    item = replace(item_of("a"), vector=vector_of("a", 12))
    with pytest.raises(ModelChanged):
        await longer.upsert(PROJECT, LEGAL, [item])
    assert await longer.adopt_model(MODEL)
    assert [item.has_vector for item in await graph.list_items(PROJECT)] == [False]
    assert await longer.upsert(PROJECT, LEGAL, [item]) == Upserted(0, 1)
    assert await find_ids(longer, vector_of("a", 12), 0.99) == ["a"]


async def test_the_length_of_vectors_is_found_out_where_nobody_says_it(
    graph: BrainGraph, embed: FakeEmbed
):
    brain = IndexedBrain(graph, embed, MODEL)
    bad = item_of("bad", vector=np.ones(3, np.float32))
    answer = await brain.upsert(PROJECT, LEGAL, [bad, item_of("a")])
    assert answer == Upserted(1, 0, (FailedItem("bad", "wrong_dimensions"),))
    assert await graph.read_model() == (MODEL, DIMENSIONS)
