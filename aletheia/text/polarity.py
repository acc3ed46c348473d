"""Polarity of an English text by the lexicon and rules of VADER, as numbers for a linear model.

VADER: Hutto and Gilbert 2014, https://doi.org/10.1609/icwsm.v8i1.14550. Its sum over the words of a
text is right about tweets; about other texts a model weighs it less (`FEATURES`).
"""

import math
import re
from functools import cache
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_CHARS: Final = 1200
"""Characters of a text that are read: VADER takes quadratic time for some."""

CLEAR: Final = 0.05
"""Compound score from which VADER's authors call a text positive, or negative below its inverse."""

_INFORMAL: Final = (
    ("exclamation", re.compile(r"!")),
    ("emoticon", re.compile(r"(?<!\w)[:;=8]['-]?[)(DPp/\\|*3\]\[]|<3|\^_\^|\bxD\b")),
    ("mention", re.compile(r"@\w|https?:|#\w")),
    ("capitals", re.compile(r"\b[A-Z]{3,}\b")),
    ("stretched", re.compile(r"([^\W\d_])\1\1")),
    (
        "chat",
        re.compile(
            r"\b(?:lol|lmao|omg|ha(?:ha)+|u|ur|im|gonna|wanna|gotta|ya|yay|ugh|wtf|thx|pls|ppl|cuz"
            r"|dont|cant|aint|i'm|my|i)\b",
            re.IGNORECASE,
        ),
    ),
    ("emoji", re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]")),
)
"""Marks of what people write to each other: there words say what they say."""

_MAX_INFORMAL: Final = 3
_LENGTH_SCALE: Final = 4.0

_BASE: Final = ("compound", "root", "size", "positive", "negative", "is_positive", "is_negative")

FEATURES: Final[tuple[str, ...]] = (
    *_BASE,
    *(f"{name}_if_informal" for name in _BASE),
    *(f"{name}_by_length" for name in _BASE),
    *(name for name, _ in _INFORMAL),
    "length",
)
"""Names of the numbers of `measure_polarity`, in order."""


def measure_polarity(text: str) -> NDArray[np.float64]:
    """Return `FEATURES` of a text, `(f,)`, each within about -2 and 2; of no text all are 0."""
    shown = text[:MAX_CHARS]
    scores = _analyzer().polarity_scores(shown)
    compound = float(scores["compound"])
    base = np.array(
        [
            compound,
            math.copysign(math.sqrt(abs(compound)), compound),
            abs(compound),
            float(scores["pos"]),
            float(scores["neg"]),
            float(compound > CLEAR),
            float(compound < -CLEAR),
        ]
    )
    marks = np.array([float(bool(form.search(shown))) for _, form in _INFORMAL])
    informal = min(float(marks.sum()), _MAX_INFORMAL) / _MAX_INFORMAL
    length = math.log1p(len(shown.split())) / _LENGTH_SCALE
    return np.concatenate([base, base * informal, base * length, marks, [length]])


def score_compound(text: str) -> float:
    """Return VADER's own score of a text, -1 to 1."""
    return float(_analyzer().polarity_scores(text[:MAX_CHARS])["compound"])


def spell_emoji(text: str) -> str:
    """Return a text with emoji in words, such as `crying face`, as models of words need them."""
    if text.isascii():
        return text
    known: dict[str, str] = _analyzer().emojis
    parts = (f" {known[character]} " if character in known else character for character in text)
    return "".join(parts)


@cache
def _analyzer() -> Any:
    """Load the lexicon, once in the life of a process."""
    # Imported here, since most processes never ask.
    return import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()
