"""A child process, seen from its parent: started, sent a job, ended."""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import orjson

from aletheia.adapters.children.child import LENGTH_BYTES
from aletheia.adapters.environment import keep_harmless
from aletheia.adapters.local.wire import PREFIX, Header, read_lengths

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-P", "-m", "aletheia.adapters.children.child")

MAX_REQUEST_BYTES: Final = 65_536
"""Longest request; what is longer belongs into a file."""

MAX_HEADER_BYTES: Final = 65_536
MAX_PIECE_BYTES: Final = 2**26
"""Longest parts of a child's answer; it may be under the control of the file that it reads."""

NOISE_BYTES: Final = 4096
"""Bytes that are kept of what a child prints last."""

FREE_NOISE_BYTES: Final = 1_000_000
NOISE_BYTES_PER_S: Final = 65_536
"""What a child may print at full speed, and how much a second from then on: only it waits."""

LAST_WORDS_S: Final = 0.5
"""Time for which the output of a child that has ended is still read, seconds."""


class ChildProcess:
    """A running child."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        control: socket.socket,
        answers: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.pid = process.pid
        self.jobs = 0  # that it was sent
        self._process, self._control = process, control
        self._answers, self._writer = answers, writer
        self._noise, self._heard = b"", 0
        self._code: int | None = None
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, command: Sequence[str], memory_bytes: int) -> Self:
        """Start a child, or raise `OSError`; no signal for us reaches its session.

        Do not cancel it: uvloop then closes descriptors twice.
        """
        # Sockets rather than pipes, which uvloop closes twice as well.
        control, their_control = socket.socketpair()
        ours, their_answers = socket.socketpair()
        with their_control, their_answers:
            try:
                answers, writer = await asyncio.open_connection(sock=ours)
            except BaseException:
                ours.close()
                control.close()
                raise
            passed = (their_control.fileno(), their_answers.fileno())
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *map(str, (*passed, memory_bytes, os.getpid())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=passed,
                    start_new_session=True,
                    cwd="/",
                    env=make_environment(os.environ),
                )
            except BaseException:
                writer.close()
                control.close()
                raise
        return cls(process, control, answers, writer)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def send(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Send a job to a child that has none, with the files it works on.

        Raises:
            ValueError: it is longer than `MAX_REQUEST_BYTES`.
            OSError: the child is gone.
        """
        body = orjson.dumps(request)
        if len(body) > MAX_REQUEST_BYTES:
            raise ValueError(f"a request of {len(body)} bytes")
        self.jobs += 1
        self._heard = 0
        # An idle child has read everything before, so that this much fits and nothing blocks.
        prefix = len(body).to_bytes(LENGTH_BYTES, "little")
        socket.send_fds(self._control, [prefix, body], list(descriptors))

    async def receive(self) -> tuple[Header, bytes] | None:
        """Return the child's next answer; `None` when no further one will come.

        Raises:
            ValueError: it breaks the protocol.
        """
        try:
            header, body = read_lengths(await self._answers.readexactly(PREFIX.size))
            if header > MAX_HEADER_BYTES or body > MAX_PIECE_BYTES:
                raise ValueError(f"a frame of {header} + {body} bytes")
            frame = orjson.loads(await self._answers.readexactly(header))
            return frame, await self._answers.readexactly(body)
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def end(self) -> int:
        """End the child and all it has started, by force; return its exit code. Idempotent."""
        if self._code is not None:
            return self._code
        if self._answers.at_eof():  # it is ending by itself, and its code says how
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._code = await self._process.wait()
        # Its output closes with it, unless something that it started still has it open.
        await asyncio.wait((self._listener,), timeout=LAST_WORDS_S)
        self._listener.cancel()
        self._control.close()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        return self._code

    def said(self) -> str:
        """Return the end of what it printed."""
        return self._noise.decode("utf-8", "replace").strip()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(NOISE_BYTES):
            self._noise = (self._noise + chunk)[-NOISE_BYTES:]
            self._heard += len(chunk)
            if self._heard > FREE_NOISE_BYTES and self._process.returncode is None:
                await asyncio.sleep(len(chunk) / NOISE_BYTES_PER_S)


def make_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: where Python finds modules, and nothing that is secret."""
    return {
        **keep_harmless(ours),
        "HOME": tempfile.gettempdir(),
        "MALLOC_ARENA_MAX": "2",  # each arena takes 64 MB of the address space
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
