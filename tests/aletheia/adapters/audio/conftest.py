"""Recordings as a child has them: open, and without a name."""

import io
import tempfile
from collections.abc import Callable, Iterator

import pytest

Open = Callable[[bytes], int]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Return the descriptor of a file with some bytes."""
    files: list[io.IOBase] = []

    def make(data: bytes) -> int:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        files.append(file)
        file.write(data)
        file.flush()
        return file.fileno()

    yield make
    for file in files:
        file.close()
