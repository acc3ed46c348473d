"""Language of a text, guessed by py3langid, which comes with its model and needs no network."""

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeAlias

MIN_LETTERS: Final = 60
"""A shorter text may be names and figures in any language."""

MIN_CONFIDENCE: Final = 0.95
"""Confidence from which a guess counts: English full of product names reaches 0.8 for a wrong
language at most, plain sentences of 80 letters 0.96 for their own."""


MAX_CHARS: Final = 5000
"""Characters that are enough to know a language by."""

MIN_SHORT_ALPHABETIC: Final = 12
ENOUGH_CHARS: Final = 60
"""Letters that a short sentence has, and characters from which `python -m bench.accuracy languages`
finds 99 of 100 texts in their own language."""

MIN_LEAD: Final = 0.3
MIN_SHORT_LEAD: Final = 0.8
"""Confidence that the first language needs, of a text with enough characters and of a short one."""

MIN_FOREIGN: Final = 10
"""Letters of another script from which a text is not English."""

_ENGLISH: Final = frozenset(
    {
        *("the", "and", "of", "to", "it", "that", "for", "with", "not", "this", "but", "have"),
        *("has", "you", "they", "from", "are", "were"),
    }
)
"""Words that most English sentences have, and sentences of other languages have not."""

_ENGLISH_SHARE: Final = 0.1
_WORD: Final = re.compile(r"[^\W\d_]+")

LanguageGuess: TypeAlias = Callable[[str], str | None]
"""Returns the language of a text (ISO 639-1); `None` where that is not clear."""


def guess_language(text: str) -> str | None:
    """Return the language of a text (ISO 639-1); `None` where that is not clear."""
    if _count_alphabetic(text) < MIN_LETTERS:
        return None
    language, confidence = _identifier().classify(text)
    return language if confidence >= MIN_CONFIDENCE else None


def identify_language(text: str) -> str | None:
    """Return the most probable language of a text that is in one language (ISO 639-1).

    Unlike `guess_language`, it takes the text to be words of a language, not names and figures; for
    a short text, or one of signs and figures, it is `None` where no language is clearly ahead.
    """
    shown = text[:MAX_CHARS]
    alphabetic = _count_alphabetic(shown)
    if alphabetic < MIN_SHORT_ALPHABETIC:
        return None
    language, confidence = _identifier().classify(shown)
    is_enough = len(shown) >= ENOUGH_CHARS and alphabetic >= ENOUGH_CHARS / 2
    return language if confidence >= (MIN_LEAD if is_enough else MIN_SHORT_LEAD) else None


def may_be_english(text: str) -> bool:
    """Check whether a text may be English: nothing says clearly that it is something else."""
    shown = text[:MAX_CHARS]
    alphabetic = [character for character in shown if character.isalpha()]
    latin = sum(character.isascii() for character in alphabetic)
    if len(alphabetic) >= MIN_FOREIGN and latin < len(alphabetic) / 2:
        return False
    words = _WORD.findall(shown.casefold())
    if sum(word in _ENGLISH for word in words) >= _ENGLISH_SHARE * len(words):
        return True
    return guess_language(shown) in (None, "en")


def _count_alphabetic(text: str) -> int:
    return sum(character.isalpha() for character in text)


@cache
def _identifier() -> Any:
    """Load the model, once in the life of a process."""
    # Imported here, since most processes never ask.
    langid: Any = import_module("py3langid.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
