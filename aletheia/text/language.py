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


def guess_language(text: str, *, min_letters: int = MIN_LETTERS) -> str | None:
    """Return the language of a text (ISO 639-1); `None` where that is not clear.

    `min_letters`: a shorter text has none; fewer than `MIN_LETTERS` where the text is known to be
    nothing but words of one language.
    """
    if sum(character.isalpha() for character in text) < min_letters:
        return None
    language, confidence = _identifier().classify(text)
    return language if confidence >= MIN_CONFIDENCE else None


def may_be_english(text: str) -> bool:
    """Check whether a text may be English: nothing says clearly that it is something else."""
    shown = text[:MAX_CHARS]
    letters = [character for character in shown if character.isalpha()]
    latin = sum(character.isascii() for character in letters)
    if len(letters) >= MIN_FOREIGN and latin < len(letters) / 2:
        return False
    if guess_language(shown) in (None, "en"):
        return True
    words = _WORD.findall(shown.casefold())
    return sum(word in _ENGLISH for word in words) >= _ENGLISH_SHARE * len(words)


@cache
def _identifier() -> Any:
    """Load the model, once in the life of a process."""
    # Imported here, since most processes never ask.
    langid: Any = import_module("py3langid.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
