"""What a judge sees of long texts."""

from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.excerpts import excerpt_pair

FILLING = " ".join(f"Sentence {n} is about the weather on the coast." for n in range(60))


def test_short_texts_stay_whole():
    assert excerpt_pair("One text.", "Another text.") == ("One text.", "Another text.")


def test_the_part_that_differs_is_shown_wherever_it_is():
    one = f"{FILLING} The pump runs at six bar. {FILLING}"
    other = f"{FILLING} The pump runs at nine bar. {FILLING}"
    ours, theirs = excerpt_pair(one, other)
    assert "runs at six bar" in ours
    assert "runs at nine bar" in theirs
    assert max(len(ours), len(theirs)) <= 500


def test_of_several_parts_that_differ_each_is_shown():
    one = f"The mill is red. {FILLING} The mill is old. {FILLING} The mill is loud."
    other = f"The mill is blue. {FILLING} The mill is new. {FILLING} The mill is still."
    ours, theirs = excerpt_pair(one, other)
    assert all(word in ours for word in ("red", "old", "loud."))
    assert all(word in theirs for word in ("blue", "new", "still."))


def test_parts_that_are_close_to_each_other_are_shown_as_one():
    ours, theirs = excerpt_pair(f"A red old mill. {FILLING}", f"The red new mill. {FILLING}")
    assert ours.startswith("A red old mill. Sentence 0")
    assert theirs.startswith("The red new mill. Sentence 0")
    assert ours.count("mill") == theirs.count("mill") == 1


def test_of_many_parts_as_many_are_shown_as_fit():
    numbers = range(100)
    one = " ".join(f"{FILLING[:60]} red{n}" for n in numbers)
    other = " ".join(f"{FILLING[:60]} blue{n}" for n in numbers)
    ours, theirs = excerpt_pair(one, other)
    assert "red0" in ours
    assert "blue0" in theirs
    assert 5 <= ours.count("red") <= 10
    assert len(ours) <= 500


def test_where_something_was_left_out_its_surroundings_are_shown():
    ours, theirs = excerpt_pair(f"{FILLING} {FILLING}", f"{FILLING} Nobody swims. {FILLING}")
    assert "Nobody swims." in theirs
    assert ours.startswith("about the weather on the coast.")
    assert len(ours) < 150


def test_texts_that_have_nothing_in_common_are_cut_at_500_characters():
    ours, theirs = excerpt_pair("word " * 50_000, "other " * 50_000)
    assert (ours[:4], theirs[:5]) == ("word", "other")
    assert 400 < len(ours) <= 500
    assert 400 < len(theirs) <= 500


_WORDS = st.sampled_from(["the", "mill", "is", "red", "blue", "old", "and", "not", "loud"])
_TEXTS = st.lists(_WORDS).map(" ".join)


@given(_TEXTS, _TEXTS, st.integers(60, 120))
def test_no_excerpt_is_too_long_and_none_of_a_text_is_empty(one: str, other: str, chars: int):
    for text, excerpt in zip((one, other), excerpt_pair(one, other, chars=chars), strict=True):
        assert len(excerpt) <= chars
        assert bool(excerpt) == bool(text)
