"""Words of a text that show an emotion, counted (SPEC §3, `emotions`)."""

import math
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Final

import numpy as np
import yaml
from numpy.typing import NDArray

EMOTIONS: Final = ("joy", "sadness", "anger", "fear", "surprise", "disgust")
"""The six basic emotions of Ekman 1992, https://doi.org/10.1080/02699939208411068."""

MAX_CHARS: Final = 20_000

_NEGATIONS: Final = frozenset(
    [
        "not",
        "no",
        "never",
        "without",
        "hardly",
        "nothing",
        "neither",
        "nor",
        "cannot",
        "isn't",
        "wasn't",
        "aren't",
        "weren't",
        "don't",
        "doesn't",
        "didn't",
        "won't",
        "can't",
        "couldn't",
        "isnt",
        "wasnt",
        "dont",
        "doesnt",
        "didnt",
        "wont",
        "cant",
    ]
)
_REACH: Final = 3
"""Words before one that a negation among them turns, as in VADER."""

_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")


def count_emotions(text: str) -> NDArray[np.float64]:
    """Return for each of `EMOTIONS` log(1 + its words), `(6,)`, without those that are negated."""
    words = [word.casefold().replace("\u2019", "'") for word in _WORD.findall(text[:MAX_CHARS])]
    counts: dict[str, int] = dict.fromkeys(EMOTIONS, 0)
    for place, word in enumerate(words):
        shown = _find_emotions(word)
        if shown and _NEGATIONS.isdisjoint(words[max(0, place - _REACH) : place]):
            for emotion in shown:
                counts[emotion] += 1
    return np.array([math.log1p(counts[emotion]) for emotion in EMOTIONS])


@lru_cache(maxsize=50_000)  # a language has few words that occur often
def _find_emotions(word: str) -> tuple[str, ...]:
    return tuple(emotion for emotion, form in _forms().items() if form.fullmatch(word))


@cache
def _forms() -> Mapping[str, re.Pattern[str]]:
    listed = yaml.safe_load(
        resources.files("aletheia.text").joinpath("emotion_words.yaml").read_text("utf-8")
    )
    return {
        emotion: re.compile("|".join(word.replace("*", r"\w*") for word in listed[emotion].split()))
        for emotion in EMOTIONS
    }
