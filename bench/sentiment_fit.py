"""Fit what tells sentiment and emotions: `python -m bench.sentiment_fit [--write]`.

Logistic regressions over the numbers of `aletheia.text.polarity` and `aletheia.text.emotions`, once
alone and once with the vectors of MiniLM. Sentiment is fitted to the rated sentences that are not
held out (`bench.accuracy.snippets`), tweets twice, since most of the others are about films; to
statements without any; and to sentences that differ by a negation. Emotions are fitted to
`bench/data/sentiment/emotions.yaml`, and to sentences that people rated as neutral. Writes the
heads; `--check` prints how often signs are right on a source that nothing was fitted on. Vectors
are kept in `.services/data`.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from aletheia.analysis.sentiment_heads import (
    LEXICON,
    SENTIMENTS,
    Head,
    Linear,
    Sentiment,
    head_file,
    measure_text,
)
from aletheia.text.emotions import EMOTIONS
from bench.accuracy.packages import DATA
from bench.accuracy.snippets import SOURCES, Snippet, read_snippets
from bench.dedup_corpus import MODEL, embed_texts
from bench.figures import print_json

WRITTEN: Final = Path(__file__).parent / "data" / "sentiment" / "emotions.yaml"

VECTORS: Final = DATA / "sentiment-vectors.npz"

SCALE: Final = 5.0
"""What unit vectors are multiplied by, so that their weights are about as large as the others."""

STRENGTH: Final = 0.3
"""Inverse strength of regularisation; 0.1 to 1 differ by less than half a point."""

EMOTION_STRENGTH: Final = 0.3
EMOTION_WEIGHT: Final = 6.0
"""Of sentences that show an emotion, against those that do not: with 1 none would be sure, and with
as many as balance them neutral statements would show some."""

TWEET_WEIGHT: Final = 2.0

STATEMENT_WEIGHT: Final = 5.0

NEUTRAL_RATING: Final = 0.1
"""Sentences that people rated nearer to 0 show no emotion."""

MAX_NEUTRAL: Final = 200

SUBJECTS: Final = (
    *("The meal", "The battery", "Their answer", "The picture", "The driver", "This book"),
    *("The screen", "The new rule", "My lawyer", "The weather", "The course", "The price"),
)
GOOD: Final = (
    *(
        "good",
        "great",
        "useful",
        "nice",
        "reliable",
        "fair",
        "pleasant",
        "fun",
        "safe",
        "excellent",
    ),
    *("helpful", "worth it", "impressive", "honest", "easy to use"),
)
VERBS: Final = ("like", "love", "recommend", "trust", "enjoy", "support")

Matrix = NDArray[np.floating[Any]]
SIGNED: Final[tuple[Sentiment, ...]] = ("positive", "negative")

Row = tuple[str, Sentiment, float, str]  # text, class, weight, source


def make_negations() -> list[Row]:
    """Return sentences with praise, and the same with a negation."""
    rows: list[Row] = []
    for subject, word in itertools.product(SUBJECTS, GOOD):
        rows.append((f"{subject} is {word}.", "positive", 1.0, "negations"))
        rows.append((f"{subject} is not {word}.", "negative", 1.0, "negations"))
    for subject, verb in itertools.product(SUBJECTS, VERBS):
        shown = subject[0].lower() + subject[1:]
        rows.append((f"I {verb} {shown}.", "positive", 1.0, "negations"))
        rows.append((f"I don't {verb} {shown}.", "negative", 1.0, "negations"))
    return rows


def make_rows(snippets: Sequence[Snippet], statements: Sequence[str]) -> list[Row]:
    """Return all that sentiment is fitted to."""
    rows = make_negations()
    for each in snippets:
        weight = TWEET_WEIGHT if each.source == "tweets" else 1.0
        rows.append((each.text, each.label, weight, each.source))
    for text in statements:
        rows.append((text, "neutral", STATEMENT_WEIGHT, "statements"))
    return rows


async def embed_kept(texts: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
    """Embed texts, those that were embedded before by what is kept."""
    known: dict[str, NDArray[np.float32]] = {}
    keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
    if VECTORS.is_file():
        with np.load(VECTORS, allow_pickle=False) as kept:
            by_key = dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))
        known = {text: by_key[key] for text, key in keys.items() if key in by_key}
    missing = [text for text in texts if text not in known]
    known |= await embed_texts(missing) if missing else {}
    if missing:
        VECTORS.parent.mkdir(parents=True, exist_ok=True)
        found = list(known)
        vectors = np.stack([known[text] for text in found])
        np.savez(VECTORS, keys=np.array([keys[text] for text in found]), vectors=vectors)
    return known


def measure(texts: Sequence[str], vectors: Mapping[str, Any] | None) -> tuple[Matrix, Matrix]:
    """Return the features of texts for sentiment, `(n, f)`, and for emotions, `(n, 6 + f)`."""
    pairs = [measure_text(text) for text in texts]
    values = np.stack([polarity for polarity, _ in pairs])
    if vectors is not None:
        tail = np.stack([np.asarray(vectors[text], np.float64) for text in texts])
        values = np.hstack([values, SCALE * tail])
    return values, np.hstack([np.stack([counts for _, counts in pairs]), values])


def fit_sentiment(values: Matrix, rows: Sequence[Row]) -> dict[Sentiment, Linear]:
    """Fit the weights of the three classes."""
    model: Any = _make_regression(C=STRENGTH, max_iter=400)
    labels = [SENTIMENTS.index(label) for _, label, _, _ in rows]
    _fit(model, values, labels, [weight for _, _, weight, _ in rows])
    return {
        name: _round(model.coef_[place], model.intercept_[place])
        for place, name in enumerate(SENTIMENTS)
    }


def fit_emotions(values: Matrix, shown: Sequence[str]) -> dict[str, Linear]:
    """Fit the weights of each emotion; `shown` names the one that a text shows, if any."""
    found: dict[str, Linear] = {}
    for name in EMOTIONS:
        weights = {0: 1.0, 1: EMOTION_WEIGHT}
        model: Any = _make_regression(C=EMOTION_STRENGTH, max_iter=400, class_weight=weights)
        _fit(model, values, [int(emotion == name) for emotion in shown], None)
        found[name] = _round(model.coef_[0], model.intercept_[0])
    return found


def _make_regression(**options: Any) -> Any:
    return import_module("sklearn.linear_model").LogisticRegression(**options)


def _fit(
    model: Any, values: Matrix, labels: Sequence[int], weights: Sequence[float] | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that has come close enough is one
        model.fit(values, labels, sample_weight=weights)


def _round(weights: NDArray[np.float64], bias: float) -> Linear:
    return Linear(weights=tuple(float(f"{weight:.4g}") for weight in weights), bias=round(bias, 4))


def check_unseen(
    values: Matrix, rows: Sequence[Row], ratings: Mapping[str, float]
) -> dict[str, float]:
    """Return the share of signs that are right for each source, fitted without it.

    `ratings` are of sentences, by their texts.
    """
    found: dict[str, float] = {}
    for source in SOURCES:
        kept = [place for place, row in enumerate(rows) if row[3] != source]
        fitted = fit_sentiment(values[kept], [rows[place] for place in kept])
        tested = [
            place
            for place, row in enumerate(rows)
            if row[3] == source and ratings.get(row[0], 0.0) != 0
        ]
        good, bad = (
            values[tested] @ np.array(fitted[name].weights) + fitted[name].bias for name in SIGNED
        )
        signs = np.array([float(ratings[rows[place][0]]) > 0 for place in tested], bool)
        is_right: NDArray[np.bool_] = (good >= bad) == signs
        found[source] = round(float(np.mean(is_right)), 3)
    return found


def write_head(head: Head) -> None:
    """Write the file of a head."""
    Path(str(head_file(head.model))).write_text(head.model_dump_json() + "\n", "utf-8")


async def main(*, is_written: bool, is_checked: bool) -> None:
    """Fit both heads and print what they are fitted on."""
    listed: dict[str, list[str]] = yaml.safe_load(WRITTEN.read_text("utf-8"))
    snippets = [snippet for snippet in read_snippets() if not snippet.is_held_out]
    rows = make_rows(snippets, listed["none"])
    near = [each.text for each in snippets if abs(each.rating) <= NEUTRAL_RATING][:MAX_NEUTRAL]
    shown = [(text, name) for name, texts in listed.items() for text in texts]
    shown += [(text, "none") for text in near]
    texts = [text for text, *_ in rows]
    vectors = await embed_kept(list(dict.fromkeys([*texts, *(text for text, _ in shown)])))
    figures: dict[str, Any] = {"texts": Counter(source for *_, source in rows)}
    for model, of_model in ((LEXICON, None), (MODEL, vectors)):
        values, _ = measure(texts, of_model)
        _, of_emotions = measure([text for text, _ in shown], of_model)
        head = Head(
            model=model,
            dimensions=0 if of_model is None else len(next(iter(vectors.values()))),
            scale=SCALE,
            sentiment=fit_sentiment(values, rows),
            emotions=fit_emotions(of_emotions, [name for _, name in shown]),
            fitted_on={**figures["texts"], "emotions": len(shown)},
        )
        if is_checked:
            ratings = {each.text: each.rating for each in snippets}
            figures[f"unseen_{model}"] = check_unseen(values, rows, ratings)
        if is_written:
            write_head(head)
    print(json.dumps(figures, indent=1))
    print_json(figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.sentiment_fit", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the heads")
    parser.add_argument("--check", action="store_true", help="fit without each source, too")
    asked = parser.parse_args()
    asyncio.run(main(is_written=asked.write, is_checked=asked.check))
