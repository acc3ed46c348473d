"""A child seen from its parent."""

import asyncio
import os
import struct
import sys
from collections.abc import Sequence

import pytest

from aletheia.adapters.children.process import (
    COMMAND,
    MAX_PIECE_BYTES,
    NOISE_BYTES,
    ChildProcess,
    make_environment,
)


async def start(code: str | None = None) -> ChildProcess:
    command: Sequence[str] = COMMAND if code is None else (sys.executable, "-c", code)
    return await ChildProcess.start(command, 10**9)


async def test_a_child_says_that_it_is_ready_and_ends_when_it_is_told():
    child = await start()
    assert await child.receive() == ({"op": "ready"}, b"")
    assert not child.is_over
    assert await child.end() == -9
    assert child.is_over
    assert await child.end() == -9


async def test_a_child_that_ends_by_itself_has_its_own_code():
    child = await start("import sys; print('last words'); sys.exit(7)")
    assert await child.receive() is None
    assert await child.end() == 7
    assert child.said() == "last words"


async def test_of_what_a_child_prints_the_end_is_kept():
    child = await start("print('x' * 50_000, 'the end')")
    assert await child.receive() is None
    await child.end()
    assert child.said().endswith("the end")
    assert len(child.said()) <= NOISE_BYTES


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack("<II", 10, MAX_PIECE_BYTES + 1),
        struct.pack("<II", 100_000, 0),
        struct.pack("<II", 3, 0) + b"{{{",
    ],
    ids=["huge body", "huge header", "no JSON"],
)
async def test_an_answer_that_breaks_the_protocol_is_found_out(frame: bytes):
    code = f"import os, sys, time; os.write(int(sys.argv[2]), {frame!r}); time.sleep(60)"
    child = await start(code)
    with pytest.raises(ValueError, match=r"frame|JSON|unexpected|key"):
        await asyncio.wait_for(child.receive(), 20)
    await child.end()


async def test_a_request_that_is_too_long_is_not_sent():
    child = await start()
    await child.receive()
    with pytest.raises(ValueError, match="bytes"):
        child.send({"job": "x" * 70_000}, ())
    await child.end()


def test_of_our_environment_a_child_gets_what_it_needs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    ours = {"PATH": "/bin", "LANG": "C.UTF-8", "API_TOKEN": "s", "AWS_SECRET": "s", "HOME": "/me"}
    made = make_environment(ours)
    assert (made["PATH"], made["LANG"]) == ("/bin", "C.UTF-8")
    assert {"API_TOKEN", "AWS_SECRET"}.isdisjoint(made)
    assert made["HOME"] != "/me"
    assert os.getcwd() in made["PYTHONPATH"].split(os.pathsep)  # noqa: PTH109 - what "" stands for
