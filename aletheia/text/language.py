"""Language of a text, guessed by py3langid, which comes with its model and needs no network."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeAlias

MIN_LETTERS: Final = 60
"""A shorter text may be names and figures in any language."""

MIN_CONFIDENCE: Final = 0.95
"""Confidence from which a guess counts: English full of product names reaches 0.8 for a wrong
language at most, plain sentences of 80 letters 0.96 for their own."""


LanguageGuess: TypeAlias = Callable[[str], str | None]
"""Returns the language of a text (ISO 639-1); `None` where that is not clear."""


def guess_language(text: str) -> str | None:
    """Return the language of a text (ISO 639-1); `None` where that is not clear."""
    if sum(character.isalpha() for character in text) < MIN_LETTERS:
        return None
    language, confidence = _identifier().classify(text)
    return language if confidence >= MIN_CONFIDENCE else None


@cache
def _identifier() -> Any:
    """Load the model, once in the life of a process."""
    # Imported here, since most processes never ask.
    langid: Any = import_module("py3langid.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
