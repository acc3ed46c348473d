import pytest

from aletheia.analysis.fusion import compare_polarity, compare_statements, fuse, share_key_terms
from aletheia.analysis.modalities import Material

NEWS = "The harbour was closed on Tuesday because of the storm. "


def text(said: str) -> Material:
    return Material("text", said)


def document(said: str) -> Material:
    return Material("document", said)


@pytest.mark.parametrize(
    ("left", "right", "difference"),
    [
        (
            "The new plant will employ 120 people in Dresden.",
            "The new plant will employ 210 people in Dresden.",
            "number",
        ),
        (
            "The repairs of the silos cost 2.4 million euros and end in March.",
            "The repairs of the silos cost 1.8 million euros and end in March.",
            "number",
        ),
        (
            "The harbour was closed on Tuesday because of the storm.",
            "Because of the storm the harbour was closed on Friday.",
            "date",
        ),
        (
            "The contract for the bridge was signed by Anna Berg.",
            "The contract for the bridge was signed by Carl Olsen.",
            "name",
        ),
        (
            "The board has approved the merger with the rival.",
            "The board has not approved the merger with the rival.",
            "negation",
        ),
        (
            "The price of copper rose sharply during the winter.",
            "The price of copper fell sharply during the winter.",
            "opposite",
        ),
    ],
)
def test_one_fact_said_differently_is_a_conflict(left: str, right: str, difference: str):
    one, two = text(f"{NEWS}{left}" if "harbour" not in left else left), document(right)
    _, (conflict,) = compare_statements(one, two)
    assert conflict.difference == difference
    assert [place.modality for place in conflict.places] == ["text", "document"]
    assert [place.quote for place in conflict.places] == [left, right]
    for material, place in zip((one, two), conflict.places, strict=True):
        assert material.text[place.start : place.end] == place.quote


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (  # of two things
            "Revenue of the group rose by 12 % in the second quarter.",
            "Costs of the group rose by 8 % in the second quarter.",
        ),
        (  # one says more
            "The new plant will employ people in Dresden.",
            "The new plant will employ 210 people in Dresden.",
        ),
        ("The weather was fine.", "The trial was stopped after two participants fell ill."),
    ],
)
def test_what_may_be_about_two_things_is_no_conflict(left: str, right: str):
    assert compare_statements(text(left), document(right))[1] == []


def test_the_same_said_in_other_words_is_an_agreement():
    one = text("The board of the company has approved the merger on Monday.")
    two = document("On Monday the company's board has approved the merger.")
    (agreement,), conflicts = compare_statements(one, two)
    assert conflicts == []
    assert agreement.kind == "statement"
    assert [place.modality for place in agreement.places] == ["text", "document"]


def test_the_same_number_in_other_words_is_no_conflict():
    one = text("The plant in Dresden will employ fifty people.")
    two = document("The plant in Dresden will employ 50 people.")
    assert compare_statements(one, two)[1] == []


def test_a_sentence_is_claimed_once():
    one = text("The new plant will employ 120 people in Dresden.")
    two = document(
        "The new plant will employ 210 people in Dresden. "
        "The new plant will employ 330 people in Dresden."
    )
    assert len(compare_statements(one, two)[1]) == 1


def test_key_terms_in_common_are_found_however_they_are_written():
    one = text("The storage silo is full. A second storage silo is built. Each storage silo costs.")
    two = document("Storage silos are dear. All storage silos leak. Storage\nsilos rust.")
    (claim,) = [claim for claim in share_key_terms(one, two) if " " in claim.statement]
    assert claim.statement == "storage silo"
    quotes = [" ".join((place.quote or "").split()).lower() for place in claim.places]
    assert quotes == ["storage silo", "storage silos"]


@pytest.mark.parametrize(
    ("polarities", "said"),
    [
        ({"text": "positive", "document": "negative"}, "the text sounds positive"),
        ({"text": "negative", "document": "negative"}, "both sound negative"),
        ({"text": "neutral", "document": "negative"}, None),
        ({"text": "positive"}, None),
    ],
)
def test_polarity_is_compared_where_both_have_one(polarities: dict[str, str], said: str | None):
    claim = compare_polarity(text("Good."), document("Bad."), polarities)
    if said is None:
        assert claim is None
    else:
        assert claim is not None
        assert said in claim.statement


def test_every_pair_of_modalities_is_compared():
    spoken = Material("audio", "The new plant will employ 330 people in Dresden.")
    materials = [
        text("The new plant will employ 120 people in Dresden."),
        spoken,
        document("The new plant will employ 210 people in Dresden."),
    ]
    found = fuse(materials, {"text": "positive", "audio": "negative", "document": "positive"})
    pairs = [(claim.kind, *(place.modality for place in claim.places)) for claim in found.conflicts]
    assert pairs == [
        ("statement", "text", "audio"),
        ("polarity", "text", "audio"),
        ("statement", "text", "document"),
        ("statement", "audio", "document"),
        ("polarity", "audio", "document"),
    ]
    assert ("polarity", "text", "document") in [
        (claim.kind, *(place.modality for place in claim.places)) for claim in found.agreements
    ]


def test_nothing_is_found_in_nothing():
    found = fuse([text(""), document("🙂 🙂")], {})
    assert (found.agreements, found.conflicts) == ([], [])
