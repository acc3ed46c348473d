"""How long a text takes to read, and how hard it is, by figures that hold in many languages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aletheia.text.spans import Span

WORDS_PER_MINUTE: Final = 238
"""Silent reading of English non-fiction (Brysbaert 2019, https://doi.org/10.1016/j.jml.2019.104047);
other European languages are within a tenth of it."""

LONG_WORD: Final = 7
"""Letters from which LIX counts a word as long."""

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_CHARS_PER_WORD: Final = 2
"""Characters of a Chinese or Japanese word, about."""


@dataclass(frozen=True, slots=True)
class Readability:
    """Figures about a text."""

    words: int
    sentences: int
    words_per_sentence: float
    long_words: float  # share of words of `LONG_WORD` letters or more, 0 to 1
    lix: float | None  # below 30 easy, 40 to 50 average, above 60 hard; `None` without sentences
    minutes: float  # of silent reading


def measure_readability(sentences: Sequence[Span]) -> Readability:
    """Measure a text by its sentences.

    LIX (Björnsson 1968) is the words per sentence plus the percentage of long words: it needs no
    syllables, which only some languages have rules for. It means nothing where a script has no
    blanks between words, and is `None` there.
    """
    words = longs = unspaced = 0
    for sentence in sentences:
        unspaced += len(_UNSPACED.findall(sentence.text))
        found = _WORD.findall(_UNSPACED.sub(" ", sentence.text))
        words += len(found)
        longs += sum(len(word) >= LONG_WORD for word in found)
    is_spaced = words * _CHARS_PER_WORD >= unspaced
    total = words + -(-unspaced // _CHARS_PER_WORD)
    per_sentence = total / len(sentences) if sentences else 0.0
    share = longs / words if words else 0.0
    return Readability(
        words=total,
        sentences=len(sentences),
        words_per_sentence=round(per_sentence, 2),
        long_words=round(share, 4),
        lix=round(per_sentence + 100 * share, 1) if sentences and words and is_spaced else None,
        minutes=round(total / WORDS_PER_MINUTE, 2),
    )
