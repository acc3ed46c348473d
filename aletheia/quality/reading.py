"""What a text holds, as far as quality counts: words, sentences, figures, signs of action.

The lists of words are English, German, French and Spanish. In other languages fewer signs are
seen, so that scores are lower, never higher.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

import yaml

from aletheia.text.facts import read_facts
from aletheia.text.normalisation import normalise

_MIN_STEM: Final = 4
_VAGUE_SHARE: Final = 0.5
_LIST_SHARE: Final = 0.5
_SHINGLE: Final = 3

_ENDING: Final = re.compile(
    r"(?:ments?|ings?|ions?|ungen|ung|ies|ied|ed|es|ern|ers?|e[nm]|[seny])$"
)
"""What is taken off a word; the longest one, since a search finds the earliest."""

UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Characters of scripts without spaces between words, as a range of a regular expression."""

_LETTER: Final = rf"[^\W\d_{UNSPACED}]"
WORD: Final = re.compile(rf"[{UNSPACED}]|{_LETTER}(?:{_LETTER}|['\u2019-](?={_LETTER}))*")
_ELIDED: Final = re.compile(r"^(?:qu|[cdjlmnst])['\u2019](?=\w{2})")
_SEPARATOR: Final = re.compile(r"[,;:|/\u2022\u3001]")
_SENTENCE: Final = re.compile(r"[.!?\u2026](?=\s|$)|[\u3002\uff01\uff1f]")


@lru_cache(maxsize=65_536)
def stem_of(word: str) -> str:
    """Return the form that a word shares with its inflections."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    stem = "".join(character for character in plain if not unicodedata.combining(character))
    stem = _ELIDED.sub("", stem).replace("'", "").replace("\u2019", "")
    while ending := _ENDING.search(stem, _MIN_STEM):
        stem = stem[: ending.start()]
    return stem


_LISTS: Final[Mapping[str, str]] = yaml.safe_load(
    resources.files("aletheia.quality").joinpath("quality_words.yaml").read_text("utf-8")
)

WORDS: Final = {
    name: frozenset(words.split() if name == "verbs" else map(stem_of, words.split()))
    for name, words in _LISTS.items()
}
"""Lists of words by name, as stems: `stop`, `vague`, `actors`, `actions`, `times`, `reasons`; and
`verbs` as they are written: "plans" begins a clause, "planning" is a subject."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text holds."""

    order: tuple[str, ...]  # its content words as stems, each once, in their order
    specific: frozenset[str]  # those that are not vague
    triples: frozenset[int]  # hashes of its word triples
    sentences: int  # how many there are
    figures: int  # how many different numbers
    signs: frozenset[str]  # which of `who`, `what`, `when` and `figure` it has
    reasons: int  # how many different words for reasons and conditions
    is_prose: bool  # whether it is sentences that end, mostly not vague, and no list of words


@lru_cache(maxsize=16_384)
def read_text(text: str) -> Reading:
    """Return what a text holds."""
    stems = [stem_of(word) for word in WORD.findall(text)]
    counted = dict.fromkeys(stem for stem in stems if stem not in WORDS["stop"])
    specific = frozenset(stem for stem in counted if stem not in WORDS["vague"])
    present = frozenset(stems)
    figures = len(read_facts(text).quantities)
    signs = {
        "who": not present.isdisjoint(WORDS["actors"]),
        "what": not present.isdisjoint(WORDS["actions"]),
        "when": not present.isdisjoint(WORDS["times"]),
        "figure": figures > 0,
    }
    words = normalise(text).split()
    sentences = len(_SENTENCE.findall(text))
    return Reading(
        order=tuple(counted),
        specific=specific,
        triples=frozenset(
            hash(triple) for triple in zip(*(words[n:] for n in range(_SHINGLE)), strict=False)
        ),
        sentences=sentences,
        figures=figures,
        signs=frozenset(sign for sign, is_there in signs.items() if is_there),
        reasons=len(present & WORDS["reasons"]),
        is_prose=sentences > 0
        and len(specific) > _VAGUE_SHARE * len(counted)
        and len(_SEPARATOR.findall(text)) < _LIST_SHARE * len(stems),
    )
