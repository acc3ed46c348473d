"""The protocol of a model process: frames over two pipes, answers in the order of requests.

A frame is two little-endian uint32, the lengths of what follows: a JSON object (the header) and
raw bytes (the body). Nothing is pickled.

    request   {"op": "load", "model", "path", "long_text"}
    answer    {"op": "loaded", "dimensions", "kernels", "load_s", "memory_bytes"}
              {"op": "failed", "reason"}
    request   {"op": "unload", "model"}
    answer    {"op": "unloaded"}
    request   {"op": "embed", "model", "lengths"}                body: texts as UTF-8
    answer    {"op": "embedded", "tokens", "truncated", "failed"}
              body: float32 vectors of those that did not fail

`lengths` are in bytes, `memory_bytes` is how much the process grew. `tokens` has one number a text,
`truncated` indices, `failed` one `[index, class, code, message]` of an error a text.
"""

import os
import queue
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import orjson

Header: TypeAlias = dict[str, Any]

PREFIX: Final = struct.Struct("<II")

READ_BYTES: Final = 2**20

MAX_PART_BYTES: Final = 2**30
"""A longer header or body means a broken stream."""


def pack_frame(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """Return a frame."""
    encoded = orjson.dumps(header)
    return b"".join((PREFIX.pack(len(encoded), len(body)), encoded, body))


def read_lengths(prefix: bytes) -> tuple[int, int]:
    """Read the lengths of header and body; `ValueError` if this is not the beginning of a frame."""
    header, body = PREFIX.unpack(prefix)
    if header > MAX_PART_BYTES or body > MAX_PART_BYTES:
        raise ValueError(f"a frame of {header} + {body} bytes")
    return header, body


def read_frame(descriptor: int) -> tuple[Header, bytes] | None:
    """Read a frame, waiting for it; `None` when the stream ends."""
    prefix = _read_exactly(descriptor, PREFIX.size)
    if prefix is None:
        return None
    header_bytes, body_bytes = read_lengths(prefix)
    header, body = _read_exactly(descriptor, header_bytes), _read_exactly(descriptor, body_bytes)
    if header is None or body is None:
        return None
    return orjson.loads(header), body


def _read_exactly(descriptor: int, wanted: int) -> bytes | None:
    parts: list[bytes] = []
    while wanted and (part := os.read(descriptor, min(wanted, READ_BYTES))):
        parts.append(part)
        wanted -= len(part)
    return None if wanted else b"".join(parts)


def serve(requests: int, answers: int, answer: Callable[[Header, bytes], bytes]) -> NoReturn:
    """Answer requests from one descriptor on another, until the whole process ends with them."""
    waiting: queue.SimpleQueue[tuple[Header, bytes]] = queue.SimpleQueue()

    def receive() -> None:
        # Not through `sys.stdin`: a thread that waits in it breaks the interpreter's end, and with
        # it the report of what went wrong.
        while frame := read_frame(requests):
            waiting.put(frame)
        os._exit(0)

    threading.Thread(target=receive, daemon=True).start()
    with os.fdopen(answers, "wb") as stream:
        while True:
            stream.write(answer(*waiting.get()))
            stream.flush()


def pack_texts(texts: Iterable[str]) -> tuple[list[int], bytes]:
    """Encode texts, one after another, lone surrogates included; return lengths and bytes."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return [len(part) for part in encoded], b"".join(encoded)


def unpack_texts(lengths: Sequence[int], body: bytes) -> list[str]:
    """Decode what `pack_texts` has encoded."""
    texts: list[str] = []
    start = 0
    for length in lengths:
        texts.append(body[start : start + length].decode("utf-8", "surrogatepass"))
        start += length
    return texts
