"""Real texts without a download: the docstrings of Python's standard library."""

import ast
import hashlib
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

MIN_PROSE_WORDS: Final = 5
MIN_PLAIN_SHARE: Final = 0.7
"""A paragraph is prose if it has so many words, and so many of them are letters only."""

_SKIPPED: Final = frozenset(
    {
        *("distutils", "encodings", "idlelib", "lib2to3", "site-packages"),
        *("test", "tests", "tkinter", "turtledemo"),
    }
)


def stdlib_texts(n: int, words: int) -> list[str]:
    """Return `n` distinct texts, made of docstrings of the standard library.

    Each is whole sentences, has about as many words as asked, at least 5, and is cut at a fifth
    more. They depend on the Python version only. Raises `ValueError`: there are not that many.
    """
    texts = list(islice(_make_texts(words), n))
    if len(texts) < n:
        raise ValueError(f"the standard library has only {len(texts)} texts of {words} words")
    return texts


def _make_texts(words: int) -> Iterator[str]:
    made: set[str] = set()
    gathered: list[str] = []
    for sentence in _read_sentences():
        gathered += sentence.split()
        if len(gathered) < 0.95 * words:
            continue
        text = " ".join(gathered[: words * 6 // 5])
        gathered.clear()
        if text not in made:
            made.add(text)
            yield text


def _read_sentences() -> Iterator[str]:
    """Yield the sentences of all modules, in an order that mixes the subjects."""
    root = Path(sysconfig.get_path("stdlib"))
    modules: list[str] = []
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _SKIPPED]
        place = Path(directory).relative_to(root)
        modules += [(place / name).as_posix() for name in files if name.endswith(".py")]
    for module in sorted(
        modules, key=lambda name: hashlib.blake2b(name.encode(), digest_size=16).digest()
    ):
        yield from _read_module(root / module)


@cache
def _read_module(path: Path) -> tuple[str, ...]:
    """Read the sentences of a module's docstrings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some modules hold escapes that Python warns about
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return ()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return tuple(
        sentence
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or "")
        if _is_prose(paragraph)
        for sentence in re.split(r"(?<=[.!?])\s+", paragraph.strip())
    )


def _is_prose(paragraph: str) -> bool:
    words = paragraph.split()
    plain = sum(word.strip(".,;:()!?'\"").isalpha() for word in words)
    return len(words) >= MIN_PROSE_WORDS and plain >= MIN_PLAIN_SHARE * len(words)
