"""Which items of a batch are dropped, for what, and on whose word."""

import itertools
import math
import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.items.calibration import Calibration, identity
from aletheia.items.dedup import Decision, Deduplicator
from aletheia.items.item_index import Entry, ItemIndex, make_entry
from tests.fakes.judge import MODEL as JUDGE
from tests.fakes.judge import FakeJudge

MODEL = "a-model"
SCALE = Calibration(MODEL, ((0.0, 0.0), (0.5, 0.8), (0.6, 0.9), (0.95, 0.97), (1.0, 1.0)))
"""Duplicates from a cosine of 0.6, and a grey zone of 0.5 to 0.95."""

_NAMES = ("".join(chars) for chars in itertools.product("bdfghjklmnp", "aeiou", "rstv", "aeiou"))

_TEXTS: defaultdict[str, str] = defaultdict(lambda: next(_NAMES))


def text_of(name: str) -> str:
    """Return a text for each name that has no word in common with any other's."""
    return _TEXTS[name]


def at(degrees: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def item(name: str, degrees: float = 0.0, text: str | None = None) -> Entry:
    return make_entry(name, text_of(name) if text is None else text, at(degrees), 2)


def saved(*items: Entry) -> ItemIndex:
    index = ItemIndex(MODEL, 2)
    vectors = np.array([item.vector for item in items]).reshape(-1, 2)
    index.add([item.id for item in items], [item.text for item in items], vectors)
    return index


def dropped(decisions: Sequence[Decision]) -> dict[str, str | None]:
    return {decision.item_id: decision.match_id for decision in decisions if not decision.is_kept}


@pytest.fixture
def dedup() -> Deduplicator:
    return Deduplicator(SCALE)


async def test_an_empty_batch_has_no_decisions(dedup: Deduplicator):
    assert await dedup.deduplicate([], saved(item("a"))) == []


async def test_the_first_item_of_a_project_is_kept(dedup: Deduplicator):
    (decision,) = await dedup.deduplicate([item("a")], saved())
    assert decision.is_kept
    assert (decision.match_id, decision.score, decision.cosine) == (None, None, None)


async def test_a_kept_item_says_what_is_nearest_to_it(dedup: Deduplicator):
    (decision,) = await dedup.deduplicate([item("a")], saved(item("b", 90), item("c", 75)))
    assert decision.is_kept
    assert (decision.tier, decision.match_id, decision.is_match_saved) == ("embedding", "c", True)
    assert decision.cosine == pytest.approx(math.cos(math.radians(75)))
    assert decision.score == pytest.approx(0.8 * math.cos(math.radians(75)) / 0.5)
    assert decision.model == MODEL


async def test_an_item_near_to_a_saved_one_is_dropped_for_the_nearest(dedup: Deduplicator):
    index = saved(item("b", 20), item("c", 10), item("d", 30))
    (decision,) = await dedup.deduplicate([item("a")], index)
    assert not decision.is_kept
    assert (decision.tier, decision.match_id) == ("embedding", "c")
    assert len(index) == 3


@pytest.mark.parametrize(
    ("numerator", "is_kept"),
    [pytest.param(24, False, id="exactly at the threshold"), pytest.param(23, True, id="below")],
)
async def test_the_threshold_is_inclusive(numerator: int, is_kept: bool):
    # 3-4-5 triangles: the cosine of (3, 4) and (4, 3) is 24/25 in float64, and less in float32.
    dedup = Deduplicator(Calibration(MODEL, ((0.0, 0.0), (24 / 25, 0.9), (1.0, 1.0))))
    index = ItemIndex(MODEL, 2)
    index.add(["b"], [text_of("b")], np.array([[4, 3]]))
    vector = np.array([3, 4]) if numerator == 24 else np.array([3, 4.001])
    (decision,) = await dedup.deduplicate([make_entry("a", text_of("a"), vector, 2)], index)
    assert decision.is_kept is is_kept
    if not is_kept:
        assert (decision.cosine, decision.score) == (24 / 25, 0.9)


async def test_the_threshold_is_inclusive_within_a_batch():
    dedup = Deduplicator(Calibration(MODEL, ((0.0, 0.0), (24 / 25, 0.9), (1.0, 1.0))))
    batch = [
        make_entry("a", text_of("a"), np.array([3, 4]), 2),
        make_entry("b", text_of("b"), np.array([4, 3]), 2),
    ]
    assert dropped(await dedup.deduplicate(batch, saved())) == {"a": "b"}


async def test_of_alike_items_of_a_batch_the_newer_one_stays(dedup: Deduplicator):
    batch = [item("a", 0), item("b", 10), item("c", 90)]
    decisions = await dedup.deduplicate(batch, saved())
    assert [decision.item_id for decision in decisions] == ["a", "b", "c"]
    assert dropped(decisions) == {"a": "b"}
    assert not decisions[0].is_match_saved


async def test_an_item_is_compared_with_kept_items_of_its_batch_only(dedup: Deduplicator):
    # b is dropped for c, so that a, which is near to b alone, stays.
    batch = [item("a", 0), item("b", 40), item("c", 80)]
    assert dropped(await dedup.deduplicate(batch, saved())) == {"b": "c"}


async def test_equal_texts_of_a_batch_are_one_and_the_newer_stays(dedup: Deduplicator):
    batch = [item("a", 0, "Stop the line!"), item("b", 90, "stop the line")]
    decisions = await dedup.deduplicate(batch, saved())
    assert dropped(decisions) == {"a": "b"}
    assert decisions[0].tier == "exact"


async def test_items_with_one_id_are_one(dedup: Deduplicator):
    batch = [item("a", 0, "Stop the line!"), item("a", 0, "stop the line")]
    decisions = await dedup.deduplicate(batch, saved())
    assert [decision.is_kept for decision in decisions] == [False, True]


async def test_a_saved_item_wins_over_a_newer_one_of_the_batch(dedup: Deduplicator):
    batch = [item("a", 0), item("b", 0)]
    decisions = await dedup.deduplicate(batch, saved(item("c", 0)))
    assert dropped(decisions) == {"a": "c", "b": "c"}


async def test_of_equally_near_matches_the_saved_one_is_recorded(dedup: Deduplicator):
    index = ItemIndex(MODEL, 2)
    index.add(["c"], [text_of("c")], np.array([[3, 4]]))
    batch = [
        make_entry("a", text_of("a"), np.array([1, 0]), 2),
        make_entry("b", text_of("b"), np.array([3, -4]), 2),
    ]
    assert dropped(await dedup.deduplicate(batch, index)) == {"a": "c"}


async def test_the_best_match_is_recorded_be_it_saved_or_of_the_batch(dedup: Deduplicator):
    index = saved(item("c", -45))
    assert dropped(await dedup.deduplicate([item("a", 0), item("b", 30)], index)) == {"a": "b"}
    assert dropped(await dedup.deduplicate([item("a", 0), item("b", 50)], index)) == {"a": "c"}


async def test_an_earlier_tier_decides_although_a_later_one_has_a_nearer_match(dedup: Deduplicator):
    index = saved(item("b", 45, "Stop the line."), item("c", 0))
    (decision,) = await dedup.deduplicate([item("a", 0, "STOP the line")], index)
    assert (decision.tier, decision.match_id) == ("exact", "b")


async def test_an_item_that_was_saved_before_a_crash_is_a_duplicate_of_itself(dedup: Deduplicator):
    (decision,) = await dedup.deduplicate([item("a", 0)], saved(item("a", 0)))
    assert (decision.match_id, decision.tier) == ("a", "exact")
    assert "saved already" in decision.reason


async def test_a_few_words_that_say_nothing_make_no_other_item(dedup: Deduplicator):
    text = " ".join(text_of(f"word-{n}") for n in range(30))
    index = saved(item("b", 90, text))
    (decision,) = await dedup.deduplicate([item("a", 0, f"also {text}")], index)
    assert (decision.tier, decision.match_id) == ("near_exact", "b")


@pytest.mark.parametrize("text", ["", "stop", "stop " * 20_000])
async def test_texts_of_any_length_are_compared(dedup: Deduplicator, text: str):
    index = saved(item("b", 0, text))
    assert dropped(await dedup.deduplicate([item("a", 90, text)], index)) == {"a": "b"}
    (decision,) = await dedup.deduplicate([item("a", 90)], index)
    assert decision.is_kept


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        pytest.param("We keep 40 parts.", "We keep 62 parts.", "number", id="number"),
        pytest.param("Wir haben 1.000 Teile.", "Wir haben 10.000 Teile.", "number", id="German"),
        pytest.param("Reply in 5 days.", "Reply in 5 weeks.", "unit", id="unit"),
        pytest.param(
            "We ship on Sundays.", "We do not ship on Sundays.", "negation", id="negation"
        ),
    ],
)
async def test_texts_that_contradict_each_other_are_kept(
    dedup: Deduplicator, one: str, other: str, difference: str
):
    judge = FakeJudge(lambda _: True)
    (decision,) = await dedup.deduplicate([item("a", 0, one)], saved(item("b", 0, other)), judge)
    assert decision.is_kept
    assert (decision.tier, decision.match_id, decision.difference) == ("guard", "b", difference)
    assert judge.asked == []


async def test_nearly_the_same_words_with_another_number_are_kept(dedup: Deduplicator):
    text = " ".join(text_of(f"word-{n}") for n in range(30))
    index = saved(item("b", 0, f"{text} in thirteen days"))
    (decision,) = await dedup.deduplicate([item("a", 0, f"{text} in thirty days")], index)
    assert (decision.is_kept, decision.tier) == (True, "guard")


async def test_a_contradiction_does_not_hide_a_duplicate_behind_it(dedup: Deduplicator):
    index = saved(item("b", 0, "We keep 40 parts."), item("c", 20, "There are 62 parts on stock."))
    decisions = await dedup.deduplicate([item("a", 0, "We keep 62 parts.")], index)
    assert dropped(decisions) == {"a": "c"}


async def test_texts_that_contradict_each_other_may_be_judged():
    dedup = Deduplicator(SCALE, guarded_pairs="judge")
    index = saved(item("b", 0, "We keep 40 parts."))
    batch = [item("a", 0, "We keep 62 parts.")]
    judge = FakeJudge(lambda question: question.other_id == "b")
    (decision,) = await dedup.deduplicate(batch, index, judge)
    assert (decision.is_kept, decision.tier, decision.judge) == (False, "judge", JUDGE)
    for undecided in (FakeJudge(lambda _: None), None):
        (decision,) = await dedup.deduplicate(batch, index, undecided)
        assert (decision.is_kept, decision.tier) == (True, "guard")


async def test_pairs_that_an_operator_told_apart_stay_apart_in_every_tier(dedup: Deduplicator):
    text = " ".join(text_of(f"word-{n}") for n in range(30))
    index = saved(item("b", 0, text), item("c", 0, f"{text} also"), item("d", 20))
    batch = [item("a", 0, text)]
    distinct = {frozenset({"a", "b"}), frozenset({"c", "a"})}
    judge = FakeJudge(lambda _: True)
    decisions = await dedup.deduplicate(batch, index, judge, distinct=distinct)
    assert judge.asked == [("a", "d")]
    distinct.add(frozenset({"a", "d"}))
    (kept,) = await dedup.deduplicate(batch, index, judge, distinct=distinct)
    assert dropped(decisions) == {"a": "d"}
    assert (kept.is_kept, kept.match_id) == (True, None)


async def test_items_of_a_batch_that_were_told_apart_stay_apart(dedup: Deduplicator):
    batch = [item("a", 0), item("b", 0)]
    decisions = await dedup.deduplicate(batch, saved(), distinct=[frozenset({"b", "a"})])
    assert dropped(decisions) == {}


@pytest.mark.parametrize("is_duplicate", [True, False])
@pytest.mark.parametrize("degrees", [59, 51, 20])
async def test_in_the_grey_zone_the_judge_decides(
    dedup: Deduplicator, degrees: float, is_duplicate: bool
):
    judge = FakeJudge(lambda _: is_duplicate)
    (decision,) = await dedup.deduplicate([item("a")], saved(item("b", degrees)), judge)
    assert judge.asked == [("a", "b")]
    assert (decision.is_kept, decision.tier) == (not is_duplicate, "judge")
    assert (decision.judge, decision.reason) == (JUDGE, "because")


@pytest.mark.parametrize(("degrees", "is_kept"), [(61, True), (18, False)])
async def test_beyond_the_grey_zone_nobody_is_asked(
    dedup: Deduplicator, degrees: float, is_kept: bool
):
    judge = FakeJudge(lambda _: is_kept)
    (decision,) = await dedup.deduplicate([item("a")], saved(item("b", degrees)), judge)
    assert judge.asked == []
    assert (decision.is_kept, decision.tier, decision.judge) == (is_kept, "embedding", "")


@pytest.mark.parametrize(("degrees", "is_kept"), [(55, True), (51, False)])
async def test_without_a_verdict_the_threshold_decides(
    dedup: Deduplicator, degrees: float, is_kept: bool
):
    for judge in (None, FakeJudge(lambda _: None)):
        (decision,) = await dedup.deduplicate([item("a")], saved(item("b", degrees)), judge)
        assert (decision.is_kept, decision.tier) == (is_kept, "embedding")


async def test_a_verdict_about_one_pair_is_none_about_a_nearer_one(dedup: Deduplicator):
    index = saved(item("b", 20), item("c", 30))
    judge = FakeJudge(lambda question: None if question.other_id == "b" else False)
    assert dropped(await dedup.deduplicate([item("a")], index, judge)) == {"a": "b"}


async def test_the_nearest_pair_is_judged_first_and_the_next_only_if_need_be(dedup: Deduplicator):
    index = saved(item("b", 30), item("c", 20), item("d", 40))
    judge = FakeJudge(lambda question: question.other_id == "b")
    (decision,) = await dedup.deduplicate([item("a")], index, judge)
    assert (decision.match_id, decision.is_kept) == ("b", False)
    assert judge.asked == [("a", "c"), ("a", "b")]


async def test_what_is_farther_than_two_pairs_that_were_told_apart_is_not_judged(
    dedup: Deduplicator,
):
    index = saved(item("b", 30), item("c", 20), item("d", 40))
    judge = FakeJudge(lambda question: question.other_id == "d")
    (decision,) = await dedup.deduplicate([item("a")], index, judge)
    assert decision.is_kept
    assert (decision.tier, decision.match_id) == ("judge", "c")
    assert judge.asked == [("a", "c"), ("a", "b")]


async def test_independent_items_are_judged_in_one_round(dedup: Deduplicator):
    index = saved(item("s", 0), item("t", 180))
    judge = FakeJudge(lambda _: True)
    decisions = await dedup.deduplicate([item("a", 45), item("b", 135)], index, judge)
    assert len(judge.rounds) == 1
    assert dropped(decisions) == {"a": "s", "b": "t"}


async def test_an_item_waits_for_one_that_it_may_repeat(dedup: Deduplicator):
    # Whether a is a duplicate hangs on b, and that on the judge.
    index, batch = saved(item("s", 100)), [item("a", 0), item("b", 50)]
    judge = FakeJudge(lambda question: question.other_id == "s")
    decisions = await dedup.deduplicate(batch, index, judge)
    assert judge.asked == [("b", "s")]
    assert dropped(decisions) == {"b": "s"}
    judge = FakeJudge(lambda question: question.other_id == "b")
    decisions = await dedup.deduplicate(batch, index, judge)
    assert [len(asked) for asked in judge.rounds] == [1, 1]
    assert dropped(decisions) == {"a": "b"}


async def test_nobody_is_asked_about_an_item_that_may_be_dropped_anyway(dedup: Deduplicator):
    # a is a sure duplicate of b, if b is kept; what the judge thinks of a and t is of no interest.
    index, batch = saved(item("s", 90), item("t", 0)), [item("a", 40), item("b", 50)]
    judge = FakeJudge(lambda _: False)
    decisions = await dedup.deduplicate(batch, index, judge)
    assert ("a", "t") not in judge.asked
    assert dropped(decisions) == {"a": "b"}


async def test_nobody_waits_for_an_item_that_is_dropped_in_any_case(dedup: Deduplicator):
    # a hangs on what becomes of b; but b, though near to c, repeats a saved item already.
    index = saved(item("r", 100), item("s", 50), item("t", -40))
    judge = FakeJudge(lambda _: False)
    decisions = await dedup.deduplicate([item("a", 4), item("b", 50), item("c", 72)], index, judge)
    assert [question.new_id for question in judge.rounds[0]] == ["c", "a"]
    assert dropped(decisions) == {"b": "s"}


async def test_a_judge_sees_where_long_texts_differ(dedup: Deduplicator):
    words = [text_of(f"word-{n}") for n in range(300)]
    one, other = " ".join([*words, "alpha"]), " ".join([*words, "omega"])
    judge = FakeJudge(lambda _: True)
    await dedup.deduplicate([item("a", 40, one)], saved(item("b", 0, other)), judge)
    ((question,),) = judge.rounds
    assert question.new_excerpt.endswith("alpha")
    assert question.other_excerpt.endswith("omega")
    assert max(len(question.new_excerpt), len(question.other_excerpt)) <= 500


async def test_a_verdict_is_cached_under_the_two_texts_in_any_order(dedup: Deduplicator):
    judge = FakeJudge(lambda _: False)
    await dedup.deduplicate([item("a", 0)], saved(item("b", 40)), judge)
    (first,) = judge.rounds[0]
    other = FakeJudge(lambda _: False)
    await dedup.deduplicate([item("b", 40)], saved(item("a", 0)), other)
    (second,) = other.rounds[0]
    assert first.key == second.key
    third = FakeJudge(lambda _: False)
    await dedup.deduplicate([item("b", 40)], saved(item("c", 0)), third)
    assert third.rounds[0][0].key != first.key


async def test_what_a_judge_raises_ends_the_batch(dedup: Deduplicator):
    def fail(_: object) -> bool:
        raise RuntimeError("out of reach")

    with pytest.raises(RuntimeError, match="out of reach"):
        await dedup.deduplicate([item("a")], saved(item("b", 40)), FakeJudge(fail))


async def test_vectors_of_two_models_are_not_compared():
    with pytest.raises(ValueError, match="another-model"):
        await Deduplicator(identity("another-model")).deduplicate([item("a")], saved())


_DEGREES = st.lists(st.integers(0, 359), max_size=12)


@given(_DEGREES, _DEGREES)
async def test_decisions_are_those_of_the_plain_walk(new: list[int], old: list[int]):
    batch = [item(f"n{at}", degrees) for at, degrees in enumerate(new)]
    existing = [item(f"o{at}", degrees) for at, degrees in enumerate(old)]
    kept: list[Entry] = []
    for new_item in reversed(batch):
        if not any(_cosine(new_item, other) >= 0.6 for other in [*existing, *kept]):
            kept.append(new_item)
    decisions = await Deduplicator(SCALE).deduplicate(batch, saved(*existing))
    ours = [decision.item_id for decision in decisions if decision.is_kept]
    assert ours == [new_item.id for new_item in reversed(kept)]
    for decision in decisions:
        assert decision.is_kept or (decision.cosine is not None and decision.cosine >= 0.6)


@given(_DEGREES, _DEGREES, st.integers(0, 2**32 - 1))
async def test_asking_in_rounds_decides_as_asking_one_by_one_does(
    new: list[int], old: list[int], seed: int
):
    def rule(one: str, other: str) -> bool:
        return zlib.crc32(f"{seed} {sorted((one, other))}".encode()) % 2 == 0

    batch = [item(f"n{at}", degrees) for at, degrees in enumerate(new)]
    existing = [item(f"o{at}", degrees) for at, degrees in enumerate(old)]
    kept: list[Entry] = []
    for new_item in reversed(batch):
        others = [(_cosine(new_item, other), other) for other in [*existing, *kept]]
        near = sorted((o for o in others if o[0] >= 0.5), key=lambda o: (-o[0], o[1].id[0] == "n"))
        is_sure = bool(near) and near[0][0] >= 0.95
        if not is_sure and not any(rule(new_item.id, other.id) for _, other in near[:2]):
            kept.append(new_item)
    judge = FakeJudge(lambda question: rule(question.new_id, question.other_id))
    decisions = await Deduplicator(SCALE).deduplicate(batch, saved(*existing), judge)
    ours = [decision.item_id for decision in decisions if decision.is_kept]
    assert ours == [new_item.id for new_item in reversed(kept)]


def _cosine(one: Entry, other: Entry) -> float:
    a, b = (np.asarray(i.vector, np.float32).astype(np.float64) for i in (one, other))
    return float(a @ b) / (float(np.linalg.norm(a)) * float(np.linalg.norm(b)))
