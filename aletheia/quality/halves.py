"""Whether the halves of sentences belong together, by their vectors.

What a good sentence says of its subject is nearer to that subject than to the subjects of other
sentences. In salad, and where facts are told of the wrong things, each half goes with any other.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aletheia.quality.grammar import find_language, grammar_of
from aletheia.quality.sentences import Token, is_content, split_sentences

MIN_CONTENT: Final = 4
"""Content words of a sentence, below which a half says nothing by itself."""

MIN_SENTENCES: Final = 4
"""Sentences with two halves, below which nothing is measured."""

MIN_DEVIATION: Final = 0.02
"""Of cosines, below which a standard deviation is taken for chance."""


@lru_cache(maxsize=16_384)
def split_in_half(text: str, language: str | None) -> tuple[str, str] | None:
    """Return the halves of a text's longest sentence; `None` of one with few content words."""
    grammar = grammar_of(find_language(text, language))
    sentences = split_sentences(text, grammar)
    if not sentences:
        return None
    tokens = max(sentences, key=lambda sentence: sentence.words).tokens
    places = [place for place, token in enumerate(tokens) if is_content(token, grammar)]
    if len(places) < MIN_CONTENT:
        return None
    middle = places[len(places) // 2]
    while middle > 1 and not is_content(tokens[middle - 1], grammar):
        middle -= 1
    return _join(tokens[:middle]), _join(tokens[middle:])


def measure_joined(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return by how many deviations own halves are nearer to each other than to those of others.

    `left` and `right`: unit vectors of the halves, `(n, d)`, row by row; `nan` for too few.
    """
    is_known = ~(np.isnan(left).any(axis=1) | np.isnan(right).any(axis=1))
    near = left[is_known] @ right[is_known].T
    if len(near) < MIN_SENTENCES:
        return float("nan")
    others = near[~np.eye(len(near), dtype=bool)]
    deviation = max(MIN_DEVIATION, float(others.std()))
    return (float(np.diag(near).mean()) - float(others.mean())) / deviation


def _join(tokens: Sequence[Token]) -> str:
    return " ".join(token.text for token in tokens)
