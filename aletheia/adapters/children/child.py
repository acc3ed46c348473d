"""The child, `python -P -m aletheia.adapters.children.child CONTROL ANSWERS MEMORY PARENT`.

CONTROL is a socket that requests come in on, each with the descriptors of its files; ANSWERS is a
descriptor that frames go out on (`aletheia.adapters.local.wire`); MEMORY is in bytes.

    answer    {"op": "ready"}
    request   {"job", "arguments", "processor_s", "is_careful"}, four bytes of its length before it
    answer    {"op": "pieces"}                                   body: a JSON list of them
              {"op": "done", "memory_bytes"}
              {"op": "failed", "kind", "code", "message", "is_well", "memory_bytes"}

A job is named `module:function`. The function takes the descriptors and the arguments by name, and
yields JSON values. What it writes and its libraries print goes to the parent, which bounds that.
"""

import array
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, BinaryIO, Final

import orjson

from aletheia.adapters.children.limits import (
    die_with,
    leave_network,
    limit_process,
    limit_processor,
    resident_bytes,
    yield_processor,
)
from aletheia.adapters.local.wire import Header, pack_frame
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask

log = logging.getLogger(__name__)

MAX_FILES: Final = 8
LENGTH_BYTES: Final = 4

TOGETHER_S: Final = 0.02
TOGETHER_BYTES: Final = 65_536
"""Pieces that are made within this time, seconds, are sent together, up to so many bytes: each
frame costs its reader as much as half a page of a PDF takes. A careful job sends each at once."""

_STACK_BYTES: Final = 262_144  # of the thread that waits for requests
_MAX_MESSAGE: Final = 500

Job = Callable[..., Iterator[Any]]


def path_of(descriptor: int) -> str:
    """Return a path at which this process can open a file that it has the descriptor of."""
    path = f"/proc/self/fd/{descriptor}"
    return path if os.path.exists(path) else f"/dev/fd/{descriptor}"  # noqa: PTH110 - may be nameless


def receive_requests(
    control: socket.socket, waiting: "queue.SimpleQueue[tuple[Header, list[int]]]"
) -> None:
    """Take requests until the parent is gone, and end this process with it."""
    try:
        while request := receive_request(control):
            waiting.put(request)
    except (OSError, ValueError):
        pass
    os._exit(0)


def receive_request(control: socket.socket) -> tuple[Header, list[int]] | None:
    """Take a request and the descriptors of its files; `None` when no further one will come."""
    descriptors = array.array("i")
    space = socket.CMSG_SPACE(MAX_FILES * descriptors.itemsize)
    prefix, ancillary, _, _ = control.recvmsg(LENGTH_BYTES, space)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    prefix += _receive_exactly(control, LENGTH_BYTES - len(prefix)) if prefix else b""
    if not prefix:
        return None
    body = _receive_exactly(control, int.from_bytes(prefix, "little"))
    return orjson.loads(body), list(descriptors)


def _receive_exactly(control: socket.socket, wanted: int) -> bytes:
    parts: list[bytes] = []
    while wanted:
        part = control.recv(wanted)
        if not part:
            raise OSError("the parent is gone")
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def answer(header: Header, descriptors: Sequence[int], stream: BinaryIO) -> None:
    """Do one job, and send the pieces of its result as they are made."""
    pieces = _Pieces(stream, is_careful=header["is_careful"])
    try:
        limit_processor(header["processor_s"])
        for piece in find_job(header["job"])(descriptors, **header["arguments"]):
            pieces.add(piece)
        outcome: Header = {"op": "done"}
    except MemoryError:
        outcome = _failed(InvalidTask("too_large", "it needs more memory than it may use"), False)
    except AletheiaError as error:
        outcome = _failed(error, True)
    except Exception as error:
        log.exception("%s failed", header["job"])
        reason = f"{type(error).__name__}: {error}"
        outcome = _failed(ComputeFailed("decoder_error", reason), True)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    pieces.send()
    stream.write(pack_frame({**outcome, "memory_bytes": resident_bytes()}))
    stream.flush()


class _Pieces:
    """Sends the pieces of a result, the first one at once."""

    def __init__(self, stream: BinaryIO, *, is_careful: bool) -> None:
        self._stream, self._is_careful = stream, is_careful
        self._held: list[bytes] = []
        self._size, self._sent_at = 0, float("-inf")

    def add(self, piece: object) -> None:
        written = orjson.dumps(piece)
        self._held.append(written)
        self._size += len(written)
        is_late = time.monotonic() - self._sent_at >= TOGETHER_S
        if self._is_careful or is_late or self._size >= TOGETHER_BYTES:
            self.send()

    def send(self) -> None:
        if self._held:
            body = b"[%b]" % b",".join(self._held)
            self._stream.write(pack_frame({"op": "pieces"}, body))
            self._stream.flush()
        self._held, self._size, self._sent_at = [], 0, time.monotonic()


def find_job(name: str) -> Job:
    """Import the function of a job."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _failed(error: AletheiaError, is_well: bool) -> Header:
    kind = "invalid" if isinstance(error, InvalidTask) else "failed"
    message = str(error).encode(errors="replace").decode()[:_MAX_MESSAGE]
    return {
        "op": "failed",
        "kind": kind,
        "code": error.code,
        "message": message,
        "is_well": is_well,
    }


def main(arguments: Sequence[str]) -> None:
    """Do the jobs that are asked for, one at a time, until the parent is gone."""
    control, answers, memory_bytes, parent = map(int, arguments)
    leave_network()
    die_with(parent)
    limit_process(memory_bytes)
    yield_processor()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    waiting: queue.SimpleQueue[tuple[Header, list[int]]] = queue.SimpleQueue()
    requests = socket.socket(fileno=control)
    usual = threading.stack_size(_STACK_BYTES)
    threading.Thread(target=receive_requests, args=(requests, waiting), daemon=True).start()
    threading.stack_size(usual)
    with os.fdopen(answers, "wb") as stream:
        stream.write(pack_frame({"op": "ready"}))
        stream.flush()
        while True:
            answer(*waiting.get(), stream)


if __name__ == "__main__":
    main(sys.argv[1:])
