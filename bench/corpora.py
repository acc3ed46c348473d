"""The texts a bench works on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.examples.texts import stdlib_texts

DIMENSIONS = 384
"""Of the vectors of `sentence-transformers/all-MiniLM-L6-v2`."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts of about one length, written to a file that every program of the bench reads.

    Attributes:
        name: `short`, `long` or `warm_up`.
        texts: in the order in which they are listed.
        path: the file.
    """

    name: str
    texts: tuple[str, ...]
    path: Path


def write_corpus(directory: Path, name: str, texts: Sequence[str]) -> Corpus:
    """Write texts down."""
    path = directory / f"{name}.json"
    path.write_text(json.dumps(texts))
    return Corpus(name, tuple(texts), path)


def read_texts(path: Path) -> list[str]:
    """Read the texts of a corpus."""
    return json.loads(path.read_text())


def make_texts(n: int, words: int, *, skip: int = 0) -> list[str]:
    """Take `n` texts of about so many words, after the first `skip`."""
    return stdlib_texts(skip + n, words)[skip:]


def task_id(tag: str, number: int) -> str:
    """Name the task of the text at `number`; a tag is used once, so that no task is known yet."""
    return f"{tag}-{number:06}"


def task_entry(tag: str, number: int, text: str) -> dict[str, Any]:
    """Write a task as the upstream lists it."""
    return {
        "id": task_id(tag, number),
        "type": "TEXT_EMBEDDING",
        "state": "pending",
        "data": {"text": text},
    }
