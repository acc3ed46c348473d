"""How right workers are is measured on data that nothing was fitted on."""

import hashlib
from pathlib import Path

import pytest

from aletheia.analysis.sentiment_heads import Scores, Sentiment
from aletheia.analysis.sentiment_reading import Reading
from aletheia.text.spans import split_spans
from bench.accuracy import packages
from bench.accuracy.sentiment import HELD_OUT, compare
from bench.accuracy.snippets import HELD_OUT_PERCENT, Snippet
from bench.accuracy.summaries import read_news, take_lead
from bench.programs import BenchFailed
from bench.sentiment_fit import WRITTEN, make_negations


def reading(negative: float, neutral: float, positive: float) -> Reading:
    sentiments: dict[Sentiment, float] = {
        "negative": negative,
        "neutral": neutral,
        "positive": positive,
    }
    return Reading(Scores(sentiments, {"joy": 0.0}), "local", "m")


def test_sentences_of_one_document_are_all_held_out_or_none():
    for number in range(100):
        sides = {Snippet("news", str(number), f"{text}", 1.0).is_held_out for text in range(5)}
        assert len(sides) == 1
    held = sum(Snippet("news", str(number), "", 0).is_held_out for number in range(2000))
    assert abs(held / 20 - HELD_OUT_PERCENT) < 4


@pytest.mark.parametrize(
    ("rating", "label"), [(0.5, "positive"), (0.4, "neutral"), (-0.5, "negative"), (0, "neutral")]
)
def test_a_class_needs_a_clear_rating(rating: float, label: str):
    assert Snippet("news", "1", "", rating).label == label


def test_signs_and_classes_are_counted_beside_vaders():
    snippets = [
        Snippet("films", "1", "A good film.", 2.0),
        Snippet("films", "2", "A good film, they say, and it is bad, bad, bad.", -2.0),
        Snippet("films", "3", "A good start that goes nowhere.", -1.0),
        Snippet("films", "4", "A film.", 0.0),
    ]
    found = compare(
        snippets,
        [reading(0.1, 0, 0.9), reading(0.9, 0, 0.1), reading(0.8, 0, 0.2), reading(0.2, 0.6, 0.2)],
    )
    assert found["sentiment_films"] == 1.0
    assert found["sentiment_films_vader"] == pytest.approx(2 / 3)
    assert found["sentiment_films_gain"] == pytest.approx(1 / 3)
    assert found["sentiment_films_classes"] == 1.0


def test_nothing_held_out_is_fitted_on():
    held_out = HELD_OUT.read_text("utf-8")
    fitted = [line[4:] for line in WRITTEN.read_text("utf-8").splitlines() if line[:4] == "  - "]
    assert len(fitted) > 150
    assert [text for text in fitted if text in held_out] == []
    assert [text for text, *_ in make_negations() if text in held_out] == []


def test_news_have_summaries_of_another_wording():
    news = list(read_news())
    assert len(news) >= 8
    for each in news:
        spans = split_spans(each.text)
        assert len(spans) >= 6
        assert each.summary not in each.text
        assert take_lead(spans) == " ".join(span.shown for span in spans[:3])


def test_a_file_with_another_content_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "DATA", tmp_path)
    (tmp_path / "a.tgz").write_bytes(b"other")
    with pytest.raises(BenchFailed, match="not the file that is expected"):
        packages.get_npm_package("a", "1", "a.tgz", "0" * 64)
    digest = hashlib.sha256(b"other").hexdigest()
    assert packages.get_npm_package("a", "1", "a.tgz", digest) == tmp_path / "a.tgz"
