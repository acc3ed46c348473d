from aletheia.quality.aspects import find_aspects
from aletheia.quality.rating import CONTRADICTED, MIN_CONTRADICTED, RatedItem, rate_items
from aletheia.quality.scores import shipped_scale
from tests.aletheia.quality.quality_sets import FILLER, GERMAN, GOOD, department, items

LEGAL = department()
DENIALS = (
    "The clerk files each contract within two days.",
    "The clerk never files each contract within two days.",
    "The lawyer settles each dispute with suppliers by letter.",
    "It is forbidden that the lawyer settles each dispute with suppliers by letter.",
)
TURNED = (
    "The clerk files contracts by year, so that she never files contracts.",
    "The lawyer answers each letter and does not answer letters.",
    "Suppliers sign at the desk, where no supplier signs.",
)


def rate(*texts: str) -> list[RatedItem]:
    return rate_items(
        items(texts),
        find_aspects(LEGAL),
        frozenset({"contract", "disput", "suppli"}),
        meaning=None,
        language="en",
        weights=shipped_scale().belonging["words"],
    )


def test_no_items_are_rated_as_none() -> None:
    assert rate() == []


def test_a_good_item_counts_and_a_filler_or_a_repeat_does_not() -> None:
    good, filler, repeat = rate(GOOD[0], FILLER[0], GOOD[0])
    assert good.weight > 0
    assert (filler.is_filler, filler.weight) == (True, 0)
    assert (repeat.repeats, repeat.weight) == (good.id, 0)


def test_an_item_that_differs_in_its_numbers_alone_repeats_the_earlier_one() -> None:
    first, second = (
        f"The clerk pays {n} suppliers within {n} days of {n} letters." for n in (3, 9)
    )
    assert rate(first, second)[1].repeats == "i0"


def test_two_items_that_contradict_each_other_cost_only_themselves() -> None:
    rated = rate(*DENIALS[:2], *GOOD[:8])
    assert [item.contradicts for item in rated[:3]] == ["i1", "i0", None]
    assert not any(item.is_doubted for item in rated)


def test_where_many_items_contradict_each_other_none_is_believed() -> None:
    rated, alone = rate(*DENIALS, GOOD[0]), rate(GOOD[0])
    assert len(DENIALS) >= MIN_CONTRADICTED
    assert all(item.is_doubted for item in rated)
    assert rated[-1].worth <= CONTRADICTED
    assert not alone[0].is_doubted


def test_where_most_items_turn_against_themselves_none_is_believed() -> None:
    assert all(item.is_doubted for item in rate(*TURNED, GOOD[0]))
    assert not any(item.is_doubted for item in rate(TURNED[0], *GOOD[:6]))


def test_an_item_in_another_language_than_all_others_counts_for_nothing() -> None:
    rated = rate(GERMAN[0], *GOOD[:6])
    assert [item.is_foreign for item in rated[:2]] == [True, False]
    assert rated[0].weight == 0
    assert not any(item.is_foreign for item in rate(*GERMAN[:4], *GOOD[:4]))


def test_what_an_earlier_item_has_said_is_no_detail_of_a_later_one() -> None:
    first, second = rate("The fee is 35 euros.", "Guests pay the fee of 35 euros at the desk.")
    assert any(kind == "figure" for kind, _ in first.specifics)
    assert not any(kind == "figure" for kind, _ in second.specifics)
