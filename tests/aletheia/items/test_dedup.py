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
from numpy.typing import NDArray

from aletheia.items.calibration import identity
from aletheia.items.dedup import MAX_BEHIND, Decision, Deduplicator, count_questions
from aletheia.items.item_index import Entry, ItemIndex, make_entry
from aletheia.items.word_vectors import WordVectors
from tests.aletheia.items.scales import make_scale, probability_at
from tests.fakes.judge import MODEL as JUDGE
from tests.fakes.judge import FakeJudge

MODEL = "a-model"
SCALE = make_scale(MODEL)
"""Dropped without a judge from a cosine of 0.95 on, and a grey zone from 0.5 on."""

_WORDS = (
    "".join(chars)
    for chars in itertools.product("bdfghjklmnp", "aeiou", "rvmt", "aou", "zxk", "iu")
)

_TEXTS: defaultdict[str, str] = defaultdict(lambda: " ".join(itertools.islice(_WORDS, 6)))


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
    assert decision.score == pytest.approx(probability_at(math.cos(math.radians(75))))
    assert not decision.is_possible
    assert decision.model == MODEL


async def test_an_item_near_to_a_saved_one_is_dropped_for_the_nearest(dedup: Deduplicator):
    index = saved(item("b", 15), item("c", 10), item("d", 30))
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
    dedup = Deduplicator(make_scale(MODEL, drop_from=24 / 25))
    index = ItemIndex(MODEL, 2)
    index.add(["b"], [text_of("b")], np.array([[4, 3]]))
    vector = np.array([3, 4]) if numerator == 24 else np.array([3, 4.001])
    (decision,) = await dedup.deduplicate([make_entry("a", text_of("a"), vector, 2)], index)
    assert decision.is_kept is is_kept
    if not is_kept:
        assert (decision.cosine, decision.score) == (24 / 25, probability_at(24 / 25))


async def test_the_threshold_is_inclusive_within_a_batch():
    dedup = Deduplicator(make_scale(MODEL, drop_from=24 / 25))
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
    batch = [item("a", 0), item("b", 15), item("c", 30)]
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


async def test_of_equally_near_matches_the_saved_one_is_recorded():
    index = ItemIndex(MODEL, 2)
    index.add(["c"], [text_of("c")], np.array([[3, 4]]))
    batch = [
        make_entry("a", text_of("a"), np.array([1, 0]), 2),
        make_entry("b", text_of("b"), np.array([3, -4]), 2),
    ]
    dedup = Deduplicator(make_scale(MODEL, drop_from=0.6))
    assert dropped(await dedup.deduplicate(batch, index)) == {"a": "c"}


async def test_the_best_match_is_recorded_be_it_saved_or_of_the_batch(dedup: Deduplicator):
    index = saved(item("c", -15))
    assert dropped(await dedup.deduplicate([item("a", 0), item("b", 10)], index)) == {"a": "b"}
    assert dropped(await dedup.deduplicate([item("a", 0), item("b", 17)], index)) == {"a": "c"}


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


DIFFERING = [
    pytest.param("We keep 40 parts.", "We keep 62 parts.", "number", id="number"),
    pytest.param("Wir haben 1.000 Teile.", "Wir haben 10.000 Teile.", "number", id="German"),
    pytest.param("Reply in 5 days.", "Reply in 5 weeks.", "unit", id="unit"),
    pytest.param("We ship on Sundays.", "We do not ship on Sundays.", "negation", id="negation"),
    pytest.param("We ship on Sundays.", "We ship on Mondays.", "date", id="weekday"),
    pytest.param("Retry if status = 200.", "Retry if status != 200.", "sign", id="sign"),
    pytest.param("Close the main valve.", "Open the main valve.", "opposite", id="opposite"),
    pytest.param("Buyers pay the sellers.", "Sellers pay the buyers.", "order", id="roles"),
    pytest.param("Keep the red folder here.", "Keep the blue folder here.", "word", id="word"),
]


@pytest.mark.parametrize(("one", "other", "difference"), DIFFERING)
async def test_texts_that_differ_in_what_matters_are_kept_without_a_judge(
    dedup: Deduplicator, one: str, other: str, difference: str
):
    (decision,) = await dedup.deduplicate([item("a", 0, one)], saved(item("b", 0, other)))
    assert (decision.is_kept, decision.is_possible) == (True, True)
    assert (decision.tier, decision.match_id, decision.difference) == ("guard", "b", difference)


@pytest.mark.parametrize(("one", "other", "difference"), DIFFERING)
async def test_texts_that_differ_in_what_matters_are_left_to_a_judge(
    dedup: Deduplicator, one: str, other: str, difference: str
):
    del difference
    for is_duplicate in (True, False):
        judge = FakeJudge(lambda _, said=is_duplicate: said)
        batch, index = [item("a", 0, one)], saved(item("b", 0, other))
        (decision,) = await dedup.deduplicate(batch, index, judge)
        assert judge.asked == [("a", "b")]
        assert (decision.is_kept, decision.tier) == (not is_duplicate, "judge")


async def test_an_operator_may_keep_such_texts_without_asking():
    dedup = Deduplicator(SCALE, guarded_pairs="keep")
    judge = FakeJudge(lambda _: True)
    batch, index = [item("a", 0, "We keep 62 parts.")], saved(item("b", 0, "We keep 40 parts."))
    (decision,) = await dedup.deduplicate(batch, index, judge)
    assert judge.asked == []
    assert (decision.is_kept, decision.tier, decision.is_possible) == (True, "guard", True)


async def test_nearly_the_same_words_with_another_number_are_kept(dedup: Deduplicator):
    text = " ".join(text_of(f"word-{n}") for n in range(30))
    index = saved(item("b", 0, f"{text} in thirteen days"))
    (decision,) = await dedup.deduplicate([item("a", 0, f"{text} in thirty days")], index)
    assert (decision.is_kept, decision.tier) == (True, "guard")


async def test_what_differs_does_not_hide_a_duplicate_behind_it(dedup: Deduplicator):
    index = saved(
        item("b", 0, "We keep 40 parts of each pump behind the grey cellar door."),
        item("c", 10, "Our stock of spares downstairs is 62 pieces a machine right now."),
    )
    batch = [item("a", 0, "We keep 62 parts of each pump behind the grey cellar door.")]
    decisions = await dedup.deduplicate(batch, index)
    assert dropped(decisions) == {"a": "c"}


async def test_a_text_in_letters_that_nothing_was_fitted_on_is_not_dropped_unjudged(
    dedup: Deduplicator,
):
    one = "Резервные копии проверяют каждую ночь и хранят месяц."
    other = "По ночам делается проверка бэкапов, срок хранения тридцать суток."
    (decision,) = await dedup.deduplicate([item("a", 0, one)], saved(item("b", 0, other)))
    assert (decision.is_kept, decision.is_possible) == (True, True)


async def test_a_text_of_hardly_any_words_is_not_dropped_unjudged(dedup: Deduplicator):
    batch, index = [item("a", 0, "Invoices.")], saved(item("b", 0, "Bills."))
    (decision,) = await dedup.deduplicate(batch, index)
    assert (decision.is_kept, decision.is_possible) == (True, True)


async def test_equal_texts_make_one_point_whatever_the_scale_says_of_pairs_that_differ():
    dedup = Deduplicator(make_scale(MODEL, drop_from=None))
    (decision,) = await dedup.deduplicate([item("a", 0, "Ring!")], saved(item("b", 0, "ring")))
    assert (decision.tier, decision.score) == ("exact", 1.0)


async def test_a_model_without_calibration_drops_nothing_by_its_cosines():
    dedup = Deduplicator(identity(MODEL))
    (decision,) = await dedup.deduplicate([item("a", 1)], saved(item("b", 0)))
    assert (decision.is_kept, decision.is_possible) == (True, True)
    assert (decision.score, decision.match_id) == (None, "b")
    (decision,) = await dedup.deduplicate([item("a", 0, "Ring!")], saved(item("b", 9, "ring")))
    assert (decision.is_kept, decision.tier) == (False, "exact")
    judge = FakeJudge(lambda _: True)
    (decision,) = await dedup.deduplicate([item("a", 1)], saved(item("b", 0)), judge)
    assert (decision.is_kept, decision.tier) == (False, "judge")


async def test_a_calibration_without_a_precise_threshold_drops_nothing_unjudged():
    dedup = Deduplicator(make_scale(MODEL, drop_from=None))
    (decision,) = await dedup.deduplicate([item("a", 1)], saved(item("b", 0)))
    assert (decision.is_kept, decision.is_possible) == (True, True)
    assert decision.score == pytest.approx(probability_at(math.cos(math.radians(1))))


async def test_words_of_what_is_compared_are_embedded_once_and_of_nothing_else():
    asked: list[list[str]] = []

    async def embed(words: Sequence[str]) -> NDArray[np.float32]:
        asked.append(list(words))
        return np.eye(len(words), 64, dtype=np.float32)

    dedup = Deduplicator(SCALE, words=WordVectors(embed))
    index = saved(item("b", 20), item("c", 120))
    batch = [item("a", 0), item("d", -100)]
    await dedup.deduplicate(batch, index)
    await dedup.deduplicate(batch, index)
    assert asked == [sorted([*text_of("a").split(), *text_of("b").split()])]


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


@pytest.mark.parametrize(("degrees", "is_kept"), [(61, True), (17, False)])
async def test_beyond_the_grey_zone_nobody_is_asked(
    dedup: Deduplicator, degrees: float, is_kept: bool
):
    judge = FakeJudge(lambda _: is_kept)
    (decision,) = await dedup.deduplicate([item("a")], saved(item("b", degrees)), judge)
    assert judge.asked == []
    assert (decision.is_kept, decision.tier, decision.judge) == (is_kept, "embedding", "")


@pytest.mark.parametrize("degrees", [55, 20])
async def test_without_a_verdict_the_grey_zone_is_kept_as_a_possible_repetition(
    dedup: Deduplicator, degrees: float
):
    for judge in (None, FakeJudge(lambda _: None)):
        (decision,) = await dedup.deduplicate([item("a")], saved(item("b", degrees)), judge)
        assert (decision.is_kept, decision.tier) == (True, "embedding")
        assert (decision.is_possible, decision.match_id) == (True, "b")


def far(number: int) -> list[Entry]:
    """Return items that are near to nothing else, so that a judge may be asked more often."""
    return [item(f"far-{at}", 180) for at in range(number)]


async def test_a_verdict_about_one_pair_is_none_about_a_nearer_one(dedup: Deduplicator):
    index = saved(item("b", 20), item("c", 30), *far(20))
    judge = FakeJudge(lambda question: None if question.other_id == "b" else False)
    (decision, _) = await dedup.deduplicate([item("a"), item("z", 270)], index, judge)
    assert judge.asked == [("a", "b"), ("a", "c")]
    assert (decision.is_kept, decision.is_possible, decision.match_id) == (True, True, "b")


async def test_the_nearest_pair_is_judged_first_and_the_next_only_if_need_be(dedup: Deduplicator):
    index = saved(item("b", 30), item("c", 20), item("d", 40), *far(20))
    judge = FakeJudge(lambda question: question.other_id == "b")
    (decision, _) = await dedup.deduplicate([item("a"), item("z", 270)], index, judge)
    assert (decision.match_id, decision.is_kept) == ("b", False)
    assert judge.asked == [("a", "c"), ("a", "b")]


async def test_what_is_farther_than_two_pairs_that_were_told_apart_is_not_judged(
    dedup: Deduplicator,
):
    index = saved(item("b", 30), item("c", 20), item("d", 40), *far(20))
    judge = FakeJudge(lambda question: question.other_id == "d")
    batch = [item("a"), item("y", 269), item("z", 271)]
    decision = (await dedup.deduplicate(batch, index, judge))[0]
    assert decision.is_kept
    assert (decision.tier, decision.match_id) == ("judge", "c")
    assert judge.asked[:2] == [("a", "c"), ("a", "b")]


async def test_a_judge_is_asked_about_one_in_twenty_of_the_nearest_at_most(dedup: Deduplicator):
    index = saved(*(item(f"b{at}", 30 + at) for at in range(25)))
    judge = FakeJudge(lambda _: False)
    (decision,) = await dedup.deduplicate([item("a")], index, judge)
    assert judge.asked == [("a", "b0")]
    assert (decision.is_kept, decision.is_possible, decision.match_id) == (True, True, "b1")


async def test_first_questions_about_items_go_before_second_ones(dedup: Deduplicator):
    index = saved(item("b", 0), item("c", 2), item("d", 180), item("e", 182), *far(20))
    judge = FakeJudge(lambda _: False)
    await dedup.deduplicate([item("a", 30), item("z", 140)], index, judge)
    assert sorted(judge.asked) == [("a", "c"), ("z", "d")]


@pytest.mark.parametrize(("items", "questions"), [(0, 0), (1, 1), (10, 10)])
def test_there_is_one_question_an_item(items: int, questions: int):
    assert count_questions(items) == questions


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
        if not any(_cosine(new_item, other) >= 0.95 for other in [*existing, *kept]):
            kept.append(new_item)
    decisions = await Deduplicator(SCALE).deduplicate(batch, saved(*existing))
    ours = [decision.item_id for decision in decisions if decision.is_kept]
    assert ours == [new_item.id for new_item in reversed(kept)]
    for decision in decisions:
        assert decision.is_kept or (decision.cosine is not None and decision.cosine >= 0.95)


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
        near = [other for other in near if other[0] >= near[0][0] - MAX_BEHIND]
        is_sure = bool(near) and near[0][0] >= 0.95
        if not is_sure and not any(rule(new_item.id, other.id) for _, other in near[:2]):
            kept.append(new_item)
    judge = FakeJudge(lambda question: rule(question.new_id, question.other_id))
    decisions = await Deduplicator(SCALE).deduplicate(batch, saved(*existing), judge)
    if len(judge.asked) == count_questions(len(batch)):
        return  # there may have been more to ask
    ours = [decision.item_id for decision in decisions if decision.is_kept]
    assert ours == [new_item.id for new_item in reversed(kept)]


def _cosine(one: Entry, other: Entry) -> float:
    a, b = (np.asarray(i.vector, np.float32).astype(np.float64) for i in (one, other))
    return float(a @ b) / (float(np.linalg.norm(a)) * float(np.linalg.norm(b)))
