"""Jobs for child processes: good ones, and one for each way in which a decoder fails."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aletheia.adapters.children.child import path_of
from aletheia.errors import InvalidTask


def count(_files: Sequence[int], upto: int) -> Iterator[int]:
    yield from range(upto)


def read(files: Sequence[int]) -> Iterator[str]:
    for file in files:
        yield Path(path_of(file)).read_text()


def describe(_files: Sequence[int]) -> Iterator[dict[str, Any]]:
    soft, _ = resource.getrlimit(resource.RLIMIT_CPU)
    yield {
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "arguments": sys.argv,
        "directory": str(Path.cwd()),
        "open": len(list(Path("/proc/self/fd").iterdir())),
        "processor_s": soft,
    }


def refuse(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    raise InvalidTask("encrypted", "it is locked")


def break_down(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    raise ValueError("a bug")


def crash(_files: Sequence[int], after: int = 2) -> Iterator[int]:
    yield from range(after)
    ctypes.string_at(0)


def leave(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    os._exit(3)


def be_killed(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), signal.SIGKILL)


def hang(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    time.sleep(600)


def nap(_files: Sequence[int], seconds: float) -> Iterator[int]:
    time.sleep(seconds)
    yield 1


def spin(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    while True:
        pass


def allocate(_files: Sequence[int], size: int) -> Iterator[int]:
    held: list[bytearray] = []
    yield 1
    while True:
        held.append(bytearray(size))


def abort_without_memory(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def keep(_files: Sequence[int], size: int) -> Iterator[int]:
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])  # so that it is really there
    keep.__dict__["held"] = held
    yield os.getpid()


def flood(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    while True:
        os.write(1, b"x" * 65_536)


def chatter(_files: Sequence[int], lines: int) -> Iterator[int]:
    for line in range(lines):
        sys.stdout.write(f"line {line}\n")
    yield lines


def answer_for_ever(_files: Sequence[int]) -> Iterator[str]:
    while True:
        yield "x" * 100_000


def start_another(_files: Sequence[int]) -> Iterator[int]:
    started = subprocess.Popen(["sleep", "600"])
    yield started.pid
    time.sleep(600)


def report_and_spin(_files: Sequence[int]) -> Iterator[int]:
    yield os.getpid()
    while True:
        pass


def _head(pages: int) -> dict[str, Any]:
    return {"kind": "head", "page_count": pages, "metadata": {}}


def _page(number: int) -> dict[str, Any]:
    return {"kind": "page", "number": number, "text": f"page {number}"}


def read_pages_and_die_at_three(
    _files: Sequence[int], first_page: int, **_: Any
) -> Iterator[dict[str, Any]]:
    yield _head(5)
    for number in range(first_page, 6):
        if number == 3:
            ctypes.string_at(0)
        yield _page(number)


def read_pages_and_hang_at_two(
    _files: Sequence[int], first_page: int, **_: Any
) -> Iterator[dict[str, Any]]:
    yield _head(3)
    for number in range(first_page, 4):
        if number == 2:
            time.sleep(600)
        yield _page(number)


def read_three_pages_a_life(
    _files: Sequence[int], first_page: int, **_: Any
) -> Iterator[dict[str, Any]]:
    yield _head(8)
    for number in range(first_page, min(first_page + 3, 9)):
        yield _page(number)
    if first_page + 3 < 9:
        os.kill(os.getpid(), signal.SIGXCPU)


def read_a_head_and_die(_files: Sequence[int], **_: Any) -> Iterator[dict[str, Any]]:
    yield _head(100)
    os._exit(1)


def be_killed_at_once(_files: Sequence[int], **_: Any) -> Iterator[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield 1


def run_out_of_memory(_files: Sequence[int]) -> Iterator[int]:
    yield 1
    raise MemoryError
