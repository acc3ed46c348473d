"""Files for decoders, as a child has them: open, and without a name."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Decode = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


@pytest.fixture
def decode() -> Iterator[Decode]:
    """Run a decoder on some bytes; return its head and its pages."""
    files: list[Any] = []

    def run(
        decoder: Callable[..., Iterator[dict[str, Any]]], data: bytes, **arguments: Any
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        files.append(file)
        file.write(data)
        file.flush()
        given = {"first_page": 1, "max_chars": 1_000_000, **arguments}
        head, *pages = decoder([file.fileno()], **given)
        assert head["kind"] == "head"
        assert all(page["kind"] == "page" for page in pages)
        return head, pages

    yield run
    for file in files:
        file.close()
