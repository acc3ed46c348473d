from aletheia.quality.aspects import find_aspects
from aletheia.quality.rating import CONTRADICTED, MIN_CONTRADICTED, RatedItem, rate_items
from aletheia.quality.scores import shipped_scale
from tests.aletheia.quality.quality_sets import FILLER, GOOD, department, items

LEGAL = department()
DENIALS = (
    "The clerk files each contract within two days.",
    "The clerk never files each contract within two days.",
    "The lawyer settles each dispute with suppliers by letter.",
    "It is forbidden that the lawyer settles each dispute with suppliers by letter.",
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


def test_what_an_earlier_item_has_said_is_no_detail_of_a_later_one() -> None:
    first, second = rate("The fee is 35 euros.", "Guests pay the fee of 35 euros at the desk.")
    assert any(kind == "figure" for kind, _ in first.specifics)
    assert not any(kind == "figure" for kind, _ in second.specifics)
