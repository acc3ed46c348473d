"""Files of a batch: JSON lines of requests, and of answers."""

import itertools
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import IO, Any, Final, Protocol

from aletheia.adapters.openai.wire import load_object

MAX_LINE_BYTES: Final = 2 * 2**20
"""Longest line of answers that is read, bytes; longer ones are passed over."""

LINES_AT_ONCE: Final = 256
"""Answers that are handed on together."""

ENDPOINT: Final = "/v1/embeddings"

log = logging.getLogger(__name__)


def write_lines(file: IO[bytes], requests: Mapping[int, bytes]) -> None:
    """Write requests, by number, and go back to the file's beginning."""
    for number, body in requests.items():
        head = b'{"custom_id":"%d","method":"POST","url":"%b","body":' % (number, ENDPOINT.encode())
        file.write(head + body + b"}\n")
    file.seek(0)


def read_lines(file: IO[bytes]) -> list[bytes]:
    """Read the next lines that are neither blank nor too long to be one; none at the end."""
    return list(itertools.islice(_lines_of(file), LINES_AT_ONCE))


def _lines_of(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            log.error("a line of more than %s bytes is passed over", f"{MAX_LINE_BYTES:,}")
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
        elif line.strip():
            yield line


def read_entry(line: bytes) -> dict[str, Any]:
    """Read a line; an empty object for one that is none."""
    try:
        return load_object(line)
    except ValueError:
        return {}


def read_number(entry: Mapping[str, Any]) -> int | None:
    """Read which request a line answers; `None` for a line that does not say."""
    number = entry.get("custom_id")
    if not isinstance(number, str) or not re.fullmatch(r"[0-9]{1,5}", number, re.ASCII):
        return None
    return int(number)


class _Streamed(Protocol):
    """A response of the SDK whose body comes in pieces."""

    @property
    def status_code(self) -> int: ...

    def iter_bytes(self) -> AsyncIterator[bytes]: ...


class _Saved:
    """A response whose body goes into a file when it is read, as far as there is room."""

    def __init__(self, response: _Streamed, into: IO[bytes], room: int) -> None:
        self._response, self._into, self._room = response, into, room

    @property
    def status_code(self) -> int:
        return self._response.status_code

    async def read(self) -> bytes:
        async for chunk in self._response.iter_bytes():
            self._into.write(chunk[: self._room])
            self._room -= len(chunk)
            if self._room < 0:
                log.error("a file of answers is too long, and is not read to its end")
                break
        return b""


@asynccontextmanager
async def saving(
    opening: AbstractAsyncContextManager[_Streamed], into: IO[bytes], room: int
) -> AsyncGenerator[_Saved]:
    """Begin a request whose body goes into a file when it is read, up to `room` bytes."""
    async with opening as response:
        yield _Saved(response, into, room)
