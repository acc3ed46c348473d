"""What all backends of the Brain have in common, where no backend is the point."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import numpy as np
import pytest

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.brain import context
from aletheia.brain.context import sum_up
from aletheia.brain.forms import MAX_ID_BYTES, fingerprint_of, make_unit, measure_cosines
from aletheia.brain.graph import GraphItem
from aletheia.brain.index import IndexedBrain
from aletheia.brain.ports import (
    BrainDepartment,
    BrainItem,
    FailedItem,
    KnownItem,
    ModelChanged,
    Upserted,
)
from aletheia.errors import InvalidTask, Unavailable
from tests.fakes.brain import (
    DIMENSIONS,
    FIRST_AXIS,
    LEGAL,
    MODEL,
    PROJECT,
    SALES,
    FakeEmbed,
    item_of,
    vector_at,
)


class Overtaken(EmbeddedGraph):
    """Another process goes over to another model while this one writes."""

    is_overtaken = False

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[GraphItem]
    ) -> tuple[int, int]:
        if self.is_overtaken:
            await self.set_model("another", DIMENSIONS)
        return await super().upsert(project_id, department, items)


@pytest.fixture
async def graph(tmp_path: Path) -> AsyncGenerator[Overtaken]:
    graph = Overtaken(tmp_path)
    await graph.open()
    yield graph
    await graph.close()


@pytest.fixture
def brain(graph: Overtaken) -> IndexedBrain:
    return IndexedBrain(graph, FakeEmbed(), MODEL, DIMENSIONS)


async def test_whoever_is_overtaken_by_another_model_takes_back_what_it_wrote(
    brain: IndexedBrain, graph: Overtaken
):
    await brain.upsert(PROJECT, LEGAL, [item_of("before")])
    graph.is_overtaken = True
    with pytest.raises(ModelChanged):
        await brain.upsert(PROJECT, LEGAL, [item_of("a"), item_of("b")])
    assert [(item.id, item.has_vector) for item in await graph.list_items(PROJECT)] == [
        ("before", False)
    ]


async def test_what_no_store_can_hold_is_replaced_in_texts_and_refused_in_ids(
    brain: IndexedBrain, graph: Overtaken
):
    half = "half of a pair: \ud83d"
    items = [
        BrainItem("a", half, half, half, FIRST_AXIS),
        item_of("\udc00"),
        item_of(""),
        item_of("x" * (MAX_ID_BYTES + 1)),
        item_of("é" * (MAX_ID_BYTES // 2)),
    ]
    done = await brain.upsert(PROJECT, BrainDepartment("legal\ud83d", half), items)
    codes = [failure.code for failure in done.failed]
    assert (done.created, codes) == (2, ["invalid_id"] * 3)
    (found,) = await brain.find_duplicates(PROJECT, vector=FIRST_AXIS, threshold=0.99)
    assert found.content == "half of a pair: ?"
    assert len(await graph.list_newest(PROJECT, "legal?", 10)) == 2


@pytest.mark.parametrize(("threshold", "limit"), [(1.1, 1), (-1.1, 1), (0.5, 0), (0.5, 2001)])
async def test_what_is_out_of_range_is_no_search(brain: IndexedBrain, threshold: float, limit: int):
    with pytest.raises(ValueError, match="out of range"):
        await brain.find_duplicates(PROJECT, content="a", threshold=threshold, limit=limit)


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param([[1.0] * DIMENSIONS], id="two rows"),
        pytest.param(["one"] * DIMENSIONS, id="words"),
        pytest.param(1.0, id="a number"),
        pytest.param([1e300] * DIMENSIONS, id="too large for float32"),
        pytest.param([], id="empty"),
    ],
)
def test_what_is_no_vector_is_refused(vector: object):
    with pytest.raises(InvalidTask) as refused:
        make_unit(vector)
    assert refused.value.code == "invalid_vector"


def test_cosines_have_six_digits_so_that_rounding_decides_nothing():
    vectors = np.stack([vector_at(at) for at in (0.8, 0.9, -1.0, 1.0)])
    assert measure_cosines(vectors, FIRST_AXIS).tolist() == [0.8, 0.9, -1.0, 1.0]


def test_a_fingerprint_depends_on_what_is_indexed_and_nothing_else():
    one = BrainItem("a", "content", "summary", "context", FIRST_AXIS)
    same = KnownItem("b", "content", "summary", "context")
    assert fingerprint_of(one) == fingerprint_of(same)
    others = [
        KnownItem("a", "Content", "summary", "context"),
        KnownItem("a", "content", "", "summarycontext"),
        KnownItem("a", "content", "summary", ""),
    ]
    assert len({fingerprint_of(each) for each in [one, *others]}) == 4


def test_a_department_is_summed_up_by_its_newest_items():
    items = [KnownItem(str(n), f"Content {n}.", f"Gist {n}." if n else "") for n in range(9)]
    expected = "Legal: Content 0. Gist 1. Gist 2. Gist 3. Gist 4."
    assert sum_up("Legal", items) == expected


async def test_items_that_do_not_fit_are_passed_over_for_those_that_do(
    brain: IndexedBrain, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(context, "estimate_tokens", len)
    for name, size in (("old", 10), ("long", 500), ("new", 10)):
        await brain.upsert(PROJECT, LEGAL, [BrainItem(name, "x" * size, vector=FIRST_AXIS)])
    found = await brain.read_context(PROJECT, BrainDepartment("legal", "L"), max_tokens=100)
    assert [item.id for item in found.items] == ["new", "old"]
    nothing = await brain.read_context(PROJECT, LEGAL, max_tokens=0)
    assert (nothing.items, nothing.previous, nothing.gaps) == ((), (), ())


async def test_the_last_of_many_earlier_departments_count(brain: IndexedBrain):
    for slug in ("d0", "d7", "d103"):
        await brain.upsert(PROJECT, BrainDepartment(slug, slug), [item_of(f"in {slug}")])
    slugs = [f"d{n}" for n in range(104)]
    context = await brain.read_context(PROJECT, LEGAL, slugs, max_tokens=9000)
    assert [earlier.department for earlier in context.previous] == ["d7", "d103"]


async def test_items_without_a_text_fail_alone(brain: IndexedBrain):
    items = [item_of("a"), item_of("blank", " \n\t"), BrainItem("empty", "")]
    codes = (FailedItem("blank", "empty_text"), FailedItem("empty", "empty_text"))
    assert await brain.upsert(PROJECT, LEGAL, items) == Upserted(1, 0, codes)


async def test_the_first_item_may_fill_all_there_is(
    brain: IndexedBrain, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(context, "estimate_tokens", len)
    await brain.upsert(PROJECT, LEGAL, [BrainItem("id", "x" * 98, vector=FIRST_AXIS)])
    found = await brain.read_context(PROJECT, LEGAL, max_tokens=100)
    assert [item.id for item in found.items] == ["id"]
    assert found.gaps == ()


async def test_an_outage_of_what_embeds_is_no_fault_of_the_items(graph: Overtaken):
    async def embed(texts: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        raise Unavailable("ollama", f"no answer to {len(texts)} texts")

    brain = IndexedBrain(graph, embed, MODEL, DIMENSIONS)
    with pytest.raises(Unavailable, match="ollama"):
        await brain.upsert(PROJECT, LEGAL, [BrainItem("a", "A text.")])


async def test_only_the_texts_that_cannot_be_embedded_fail(brain: IndexedBrain):
    items = [BrainItem(f"i{n}", f"Text {n}.") for n in range(9)]
    items[2] = BrainItem("i2", "NOT EMBEDDABLE")
    items[7] = BrainItem("i7", "NOT EMBEDDABLE, either")
    codes = (FailedItem("i2", "input_too_long"), FailedItem("i7", "input_too_long"))
    assert await brain.upsert(PROJECT, SALES, items) == Upserted(7, 0, codes)
