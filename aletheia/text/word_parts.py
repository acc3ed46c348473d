"""How much of a text's words another text has, part by part (SPEC §4, Dedup).

Parts of words are compared, four characters each, so that `Treppenhausfenster` and `Fenster im
Treppenhaus`, or `verify` and `verification`, have most of them in common: in languages that a model
embeds badly, this tells more than vectors of words.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from aletheia.text.wording import read_wording

SIZE: Final = 4
"""Characters of a part; the beginning of a word counts as one."""


def measure_parts(text: str, other: str) -> tuple[float, float]:
    """Return the share of the parts of either text's words that the other has, `[0, 1]` each.

    All words of a text count the same, however long they are; 0 for a text without words.
    """
    one, two = read_parts(text), read_parts(other)
    return _measure_there(one.words, two.every), _measure_there(two.words, one.every)


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of the words of a text."""

    words: tuple[frozenset[str], ...]  # parts of each word that has a meaning of its own
    every: frozenset[str]


def _measure_there(words: tuple[frozenset[str], ...], there: frozenset[str]) -> float:
    if not words:
        return 0.0
    return sum([len(parts & there) / len(parts) for parts in words]) / len(words)


@lru_cache(maxsize=8192)
def read_parts(text: str) -> Parts:
    """Read the parts of a text's words."""
    words = tuple(_split(word) for word in read_wording(text).forms.values())
    return Parts(words, frozenset[str]().union(*words))


@lru_cache(maxsize=65536)
def _split(word: str) -> frozenset[str]:
    begun = f"^{word}"
    return frozenset([begun[at : at + SIZE] for at in range(max(1, len(begun) - SIZE + 1))])
