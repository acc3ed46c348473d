"""A model process, seen from its parent: started, sent requests, ended."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

import orjson

from aletheia.adapters.environment import MODEL_PREFIXES, MODEL_VARIABLES, keep_harmless
from aletheia.adapters.local.jobs import LoadedModel, Request
from aletheia.adapters.local.wire import PREFIX, Header, read_lengths

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-m", "aletheia.adapters.local.worker")
"""Starts a model process; the descriptor for its answers and its number of threads are added."""

NOISE_BYTES: Final = 4096
"""Bytes that are kept of what a process prints last."""

GOODBYE_S: Final = 2.0
"""Time for a process to end by itself when it is not needed any more, seconds."""

LAST_WORDS_S: Final = 0.5
"""Time for which the pipes of a process that has ended are still read, seconds."""


class ModelProcess:
    """A running model process, seen from its parent."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        answers: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        wake: asyncio.Event,
    ) -> None:
        self.pid = process.pid
        self.wake = wake  # set by an answer, the end, or work
        self.in_flight: deque[Request] = deque()
        self.inbox: deque[tuple[Header, bytes]] = deque()
        self.is_over = False  # whether no further answer will come
        self.has_answered = False
        self.deadline: float | None = None  # of the first in flight, on the loop's clock
        self.loaded: dict[str, LoadedModel] = {}
        self._process, self._writer = process, writer
        self._noise = b""
        self._readers = (
            asyncio.create_task(self._receive(answers)),
            asyncio.create_task(self._listen()),
        )

    @classmethod
    async def start(cls, command: Sequence[str], wake: asyncio.Event) -> Self:
        """Start a process, or raise `OSError`; no signal for us reaches its session.

        Do not cancel it: uvloop then closes descriptors twice.
        """
        *program, threads = command
        # Not a pipe: libuv closes the descriptor of one, and uvloop closes its file after that,
        # by when a thread may have opened another file with the same descriptor.
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                answers, writer = await asyncio.open_connection(sock=ours)
            except BaseException:
                ours.close()
                raise
            try:
                process = await asyncio.create_subprocess_exec(
                    *program,
                    str(theirs.fileno()),
                    threads,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env=_environment(int(threads)),
                )
            except BaseException:
                writer.close()
                raise
        return cls(process, answers, writer, wake)

    def send(self, request: Request, frame: bytes, limit_s: float) -> None:
        """Send a request; the pool bounds how many are in flight."""
        assert self._process.stdin is not None
        if not self.in_flight:
            self.start_clock(limit_s)
        self.in_flight.append(request)
        self._process.stdin.write(frame)

    def start_clock(self, limit_s: float) -> None:
        """Start the time limit of the first request in flight."""
        self.deadline = asyncio.get_running_loop().time() + limit_s

    def fate(self) -> str:
        """Return how it ended, in words."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"it ended with code {code}"
        return f"it was killed by {signal.Signals(-code).name}"

    def said(self) -> str:
        """Return the end of what it printed."""
        return self._noise.decode("utf-8", "replace")[-500:].strip()

    async def end(self, *, is_stuck: bool) -> None:
        """End the process, by force if it is stuck; return when it is gone."""
        assert self._process.stdin is not None
        if not self.is_over:  # one that is failing already may still say why
            self._process.stdin.close()
        try:
            async with asyncio.timeout(0 if is_stuck else GOODBYE_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._process.stdin.close()
        # Its pipes close with it, unless something it started still has them open.
        _, late = await asyncio.wait(self._readers, timeout=LAST_WORDS_S)
        for reader in late:
            reader.cancel()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _receive(self, answers: asyncio.StreamReader) -> None:
        try:
            while True:
                header, body = read_lengths(await answers.readexactly(PREFIX.size))
                frame = orjson.loads(await answers.readexactly(header))
                self.inbox.append((frame, await answers.readexactly(body)))
                self.wake.set()
        except (asyncio.IncompleteReadError, OSError):
            pass
        except ValueError as error:
            log.warning("model process %d broke the protocol: %s", self.pid, error)
            with suppress(ProcessLookupError):
                self._process.kill()
        finally:
            self.is_over = True
            self.wake.set()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(NOISE_BYTES):
            self._noise = (self._noise + chunk)[-NOISE_BYTES:]


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of a model process: what its libraries read, and nothing secret."""
    return {
        **keep_harmless(os.environ, MODEL_VARIABLES, MODEL_PREFIXES),
        "OMP_NUM_THREADS": str(threads),
        # Spinning threads get up to 15 times slower as soon as anything else wants the same cores.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_NUM_THREADS": str(threads),
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",  # kernels kept, of 0.7 MB each
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
