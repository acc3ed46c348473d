"""Sentences with the places they stand at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.spans import MAX_SENTENCE, split_spans


def shown(text: str) -> list[str]:
    return [span.shown for span in split_spans(text)]


@given(st.text(alphabet="aB .!?\n-1\u3002\u00e9", max_size=300))
def test_every_sentence_stands_where_it_says_and_none_overlap(text: str):
    last = 0
    for span in split_spans(text):
        assert text[span.start : span.end] == span.text
        assert span.text.strip() == span.text
        assert last <= span.start < span.end
        last = span.end


@given(st.text(alphabet="ab .?\n", max_size=200))
def test_no_word_is_lost(text: str):
    kept = "".join(span.text for span in split_spans(text))
    assert [c for c in kept if c.isalpha()] == [c for c in text if c.isalpha()]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("He said \u201cgo.\u201d She went.", ["He said \u201cgo.\u201d", "She went."]),
        ("Dr. Who met Prof. Jones at 3.5 km. Then he left.", None),
        ("See Fig. 3 and e.g. this one. Done.", ["See Fig. 3 and e.g. this one.", "Done."]),
        ("A line that is\nbroken in two. Next.", ["A line that is broken in two.", "Next."]),
        ("A heading\n\nThe text below it.", ["A heading", "The text below it."]),
        (
            "Results\nThe harbour stores grain in nine silos and ships it by rail in winter.",
            ["Results", "The harbour stores grain in nine silos and ships it by rail in winter."],
        ),
        ("First:\n- an entry\n- another one", ["First:", "- an entry", "- another one"]),
        ("1. first\n2. second", ["1. first", "2. second"]),
        ("\u4e00\u3002\u4e8c\uff01\u4e09", ["\u4e00\u3002", "\u4e8c\uff01", "\u4e09"]),
        ("Was ist das? Ein Satz. Noch einer.", ["Was ist das?", "Ein Satz.", "Noch einer."]),
        ("... --- !!!", []),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_says(text: str, sentences: list[str] | None):
    expected = sentences or ["Dr. Who met Prof. Jones at 3.5 km.", "Then he left."]
    assert shown(text) == ([] if sentences == [] else expected)


def test_what_never_ends_is_cut_between_words():
    text = "word " * 2000
    spans = split_spans(text)
    assert max(len(span.text) for span in spans) <= MAX_SENTENCE
    assert all(span.text.endswith("word") for span in spans)
    assert len(split_spans("x" * 5000)) == 5


@pytest.mark.parametrize(
    "text",
    [
        *("." * 100_000, "a." * 50_000, "\n" * 100_000, "- \n" * 50_000),
        *(f"a{mark * 100_000}b" for mark in (".", "!", " ", "\t", "\n", ". ", ".'", "\n1", " \t")),
        *(f"a{mark}{' ' * 100_000}b" for mark in ("\n", ".", "\n\n", "\n-")),
    ],
    ids=lambda text: repr(text[:4]),
)
@pytest.mark.timeout(20)
def test_marks_without_end_take_no_time(text: str):
    assert len(split_spans(text)) >= 0
