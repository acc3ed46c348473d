"""Files of a batch: JSON lines of requests, and of answers."""

import itertools
import logging
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

from aletheia.adapters.http_answers import as_object
from aletheia.adapters.openai.wire import load_json

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
    """Read the next lines that are neither blank nor too long; none at the end."""
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
        return as_object(load_json(line))
    except ValueError:
        return {}


def read_number(entry: Mapping[str, Any]) -> int | None:
    """Read which request a line answers; `None` for a line that does not say."""
    number = entry.get("custom_id")
    if not isinstance(number, str) or not re.fullmatch(r"[0-9]{1,5}", number, re.ASCII):
        return None
    return int(number)
