"""What the index of saved items finds."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aletheia.items.item_index import ItemIndex, Match, make_entry

MODEL = "a-model"
PLANT = (
    "The plant in Lyon starts its early shift at six and ends it at two, so that trucks from the "
    "south can be loaded before the motorway fills with people who drive to work in the city."
)


def index_of(*vectors: list[float], texts: list[str] | None = None) -> ItemIndex:
    index = ItemIndex(MODEL, len(vectors[0]))
    ids = [f"item-{n}" for n in range(len(vectors))]
    index.add(ids, texts or [f"text {id_}" for id_ in ids], np.array(vectors))
    return index


def ids(matches: Sequence[Match]) -> list[str]:
    return [match.entry.id for match in matches]


def near(index: ItemIndex, *vector: float, min_cosine: float = 0.5) -> list[tuple[str, float]]:
    entry = make_entry("new", "a new text", np.array(vector), index.dimensions)
    (found,) = index.find_neighbours([entry], min_cosine, 1000)
    return [(match.entry.id, match.cosine) for match in found]


def test_neighbours_come_nearest_first():
    index = index_of([1, 0], [4, 3], [3, 4], [0, 1])
    assert near(index, 1, 0) == [("item-0", 1.0), ("item-1", 0.8), ("item-2", 0.6)]


def test_a_neighbour_exactly_at_the_bound_is_one():
    assert near(index_of([4, 3]), 3, 4, min_cosine=24 / 25) == [("item-0", 24 / 25)]


def test_without_neighbours_the_nearest_item_is_named_all_the_same():
    assert near(index_of([0, 1], [1, 7]), 1, 0) == [("item-1", pytest.approx(0.1414, abs=1e-4))]


def test_an_empty_index_finds_nothing():
    index = ItemIndex(MODEL, 2)
    assert near(index, 1, 0) == []
    entry = make_entry("new", PLANT, np.array([1, 0]), 2)
    assert index.find_exact(entry) == index.find_near_exact([entry])[0] == []


def test_only_so_many_neighbours_are_given_and_those_are_the_nearest():
    index = index_of(*[[10, float(n)] for n in range(10)])
    entry = make_entry("new", "", np.array([1, 0]), 2)
    (found,) = index.find_neighbours([entry], 0.1, 3)
    assert ids(found) == ["item-0", "item-1", "item-2"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.floats(-0.2, 0.9))
def test_what_is_found_is_what_every_pair_in_float64_would_give(
    seed: int, size: int, min_cosine: float
):
    random = np.random.default_rng(seed)
    rows = random.standard_normal((size, 6)).astype(np.float32)
    rows *= random.uniform(0.1, 10, (size, 1)).astype(np.float32)
    index = index_of(*rows.tolist())
    query = random.standard_normal(6).astype(np.float32)
    wide, q = rows.astype(np.float64), query.astype(np.float64)
    cosines = wide @ q / np.linalg.norm(wide, axis=1) / np.linalg.norm(q)
    expected = {f"item-{n}" for n in np.flatnonzero(cosines >= min_cosine)}
    found = near(index, *query.tolist(), min_cosine=min_cosine)
    assert {one for one, _ in found} == (expected or {f"item-{np.argmax(cosines)}"})


def test_the_index_grows_and_keeps_what_it_has():
    random = np.random.default_rng(1)
    vectors = random.standard_normal((3000, 4))
    grown, at_once = ItemIndex(MODEL, 4), index_of(*vectors.tolist())
    for start in range(0, 3000, 7):
        ids = [f"item-{n}" for n in range(start, min(start + 7, 3000))]
        grown.add(ids, [f"text {id_}" for id_ in ids], vectors[start : start + 7])
    assert len(grown) == len(at_once) == 3000
    for query in random.standard_normal((5, 4)).tolist():
        assert near(grown, *query) == near(at_once, *query)


def test_an_item_that_is_known_is_passed_over():
    index = index_of([1, 0])
    index.add(["item-0", "item-1", "item-1"], ["a", "b", "c"], np.array([[0, 1]] * 3))
    assert len(index) == 2
    assert "item-1" in index
    assert near(index, 1, 0)[0] == ("item-0", 1.0)


def test_adding_nothing_changes_nothing():
    index = ItemIndex(MODEL, 2)
    index.add([], [], np.empty((0, 2)))
    assert len(index) == 0


def test_a_removed_item_is_found_no_more_and_may_come_back_changed():
    index = index_of([1, 0], [0, 1], texts=[PLANT, "another text"])
    entry = make_entry("new", PLANT, np.array([1, 0]), 2)
    index.remove(["item-0", "nobody"])
    assert len(index) == 1
    assert index.find_exact(entry) == index.find_near_exact([entry])[0] == []
    assert near(index, 1, 0, min_cosine=-1) == [("item-1", 0.0)]
    assert near(index, -1, -1) == [("item-1", pytest.approx(-0.7071, abs=1e-4))]
    index.add(["item-0"], ["changed"], np.array([[0, 2]]))
    assert near(index, 0, 1) == [("item-1", 1.0), ("item-0", 1.0)]


def test_an_index_of_removed_items_finds_nothing():
    index = index_of([1, 0])
    index.remove(["item-0"])
    assert near(index, 1, 0) == []


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param([1, float("nan")], id="not a number"),
        pytest.param([float("inf"), 0], id="infinite"),
        pytest.param([1e200, 0], id="too large for float32"),
        pytest.param([0, 0], id="zero"),
        pytest.param([1, 0, 0], id="too long"),
        pytest.param([1], id="too short"),
    ],
)
def test_a_vector_that_is_none_is_refused(vector: list[float]):
    index = ItemIndex(MODEL, 2)
    with pytest.raises(ValueError):
        index.add(["good", "bad"], ["a", "b"], np.array([vector, vector]))
    with pytest.raises(ValueError):
        make_entry("bad", "b", np.array(vector), 2)
    assert len(index) == 0


def test_a_refused_batch_leaves_nothing_behind():
    index = index_of([1, 0])
    with pytest.raises(ValueError, match="'bad'"):
        index.add(["good", "bad"], ["a", "b"], np.array([[1, 0], [np.nan, 0]]))
    assert len(index) == 1
    assert near(index, 1, 0) == [("item-0", 1.0)]


def test_texts_ids_and_vectors_belong_together():
    with pytest.raises(ValueError):
        ItemIndex(MODEL, 2).add(["a"], ["a", "b"], np.ones((2, 2)))


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        pytest.param(PLANT, True, id="the same"),
        pytest.param(PLANT.replace("early shift", "early shifts"), True, id="endings"),
        pytest.param(
            PLANT.replace("so that trucks", "so that also the trucks"), True, id="filling"
        ),
        pytest.param(PLANT.replace("Lyon", "Paris"), False, id="a name"),
        pytest.param(
            PLANT.replace("starts", "ends").replace("and ends", "and starts"), False, id="order"
        ),
        pytest.param(PLANT.replace("before", "after"), False, id="before and after"),
        pytest.param("The plant starts.", False, id="something shorter"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_near_exact_is_the_same_words_in_the_same_order(text: str, is_found: bool):
    index = index_of([1, 0], texts=[PLANT])
    entry = make_entry("new", text, np.array([0, 1]), 2)
    assert ids(index.find_near_exact([entry])[0]) == (["item-0"] if is_found else [])


def test_the_same_words_in_other_company_are_not_near_exact():
    one, other = (
        make_entry("a", text, np.ones(2), 2) for text in ("stop line", "to stop the line")
    )
    assert not one.is_near_exact(other)


@pytest.mark.parametrize("text", ["", "!", "stop", "stop now", "stop " * 50_000])
def test_texts_of_any_length_are_found_again(text: str):
    index = index_of([1, 0], [0, 1], texts=["something else entirely", text])
    entry = make_entry("new", text, np.array([1, 0]), 2)
    assert ids(index.find_exact(entry)) == ["item-1"]
    assert ids(index.find_near_exact([entry])[0]) == ["item-1"]


def test_of_the_same_texts_the_one_with_the_same_id_comes_first():
    index = index_of([1, 0], [1, 0], texts=[PLANT, PLANT])
    entry = make_entry("item-1", PLANT, np.array([1, 0]), 2)
    assert ids(index.find_exact(entry)) == ["item-1", "item-0"]


def test_nearly_all_near_exact_texts_are_found_among_many():
    random = np.random.default_rng(3)
    words: NDArray[np.str_] = np.array(
        [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]
    )
    texts = [" ".join(random.choice(words, 40)) for _ in range(400)]
    index = index_of(*random.standard_normal((400, 3)).tolist(), texts=texts)
    found = 0
    for row, text in enumerate(texts):
        parts = text.split()
        parts.insert(int(random.integers(len(parts))), "the")
        entry = make_entry("new", " ".join(parts), np.ones(3), 3)
        found += ids(index.find_near_exact([entry])[0]) == [f"item-{row}"]
    assert found >= 396
