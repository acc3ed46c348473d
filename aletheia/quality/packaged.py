"""Words and texts that come with this package, by their languages, as YAML."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

import yaml

T = TypeVar("T")

OTHER_LANGUAGE: Final = "en"
"""Texts of languages that have none of their own."""


def read_packaged(name: str) -> Any:
    """Return what a YAML file of this package says."""
    source = resources.files("aletheia.quality").joinpath(name)
    return yaml.load(source.read_text("utf-8"), Loader=yaml.CSafeLoader)


def find_texts(name: str, kind: Callable[..., T], language: str | None) -> T:
    """Return the lists of texts of a language, or of `OTHER_LANGUAGE`, as `kind` has them.

    Args:
        name: a file with lists of texts by their names, by language (ISO 639-1).
        kind: what is built of them, each as a tuple by its name.
        language: the language; `None` where it is not known.
    """
    known = _read_texts(name, kind)
    return known.get(language or "", known[OTHER_LANGUAGE])


@cache
def _read_texts(name: str, kind: Callable[..., T]) -> Mapping[str, T]:
    read: Mapping[str, Mapping[str, Sequence[str]]] = read_packaged(name)
    return {
        language: kind(**{key: tuple(texts) for key, texts in lists.items()})
        for language, lists in read.items()
    }
