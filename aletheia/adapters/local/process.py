"""One model process, seen from its parent: how it is started, spoken to and ended."""

import asyncio
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import orjson

from aletheia.adapters.local.source import Source
from aletheia.adapters.local.wire import PREFIX, Header, read_lengths

log = logging.getLogger(__name__)

R = TypeVar("R")

COMMAND: Final = (sys.executable, "-m", "aletheia.adapters.local.model")
"""Starts a model process; the descriptor for its answers and its number of threads are added."""

NOISE_BYTES: Final = 4096
"""How much of what a process prints last is kept."""

GOODBYE_S: Final = 2.0
"""How long a process may take to end by itself when it is not needed any more."""

LAST_WORDS_S: Final = 0.5
"""How long the pipes of a process that has ended are still read."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to embed.

    Attributes:
        name: its full name.
        source: where its files were found.
        path: their directory.
        revision: the hub's commit, where it came from there.
        weights_sha256: of its weights, where no revision says what they are.
        dimensions: length of its vectors.
        max_tokens: most tokens it reads of a text; `None` if there is no limit.
        kernels: what was found to make it faster on this machine.
        load_s: how long the process that was ready first took to load it, without importing
            libraries, seconds.
        memory_bytes: how much that process grew with it; no less than the size of its weights.
    """

    name: str
    source: Source
    path: Path
    revision: str | None
    weights_sha256: str | None
    dimensions: int
    max_tokens: int | None
    kernels: tuple[str, ...]
    load_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What a model process is and does.

    Attributes:
        pid: its id.
        resident_bytes: its resident memory when it last answered, bytes.
        models: names of the models it has loaded.
        texts: how many texts it has answered.
        compute_s: how long it has computed for that, seconds.
    """

    pid: int
    resident_bytes: int
    models: tuple[str, ...]
    texts: int
    compute_s: float


class ModelProcess(Generic[R]):
    """A running model process, seen from its parent.

    Attributes:
        pid: its id.
        wake: set when there is something new: an answer, its end, or work.
        in_flight: what it was asked and has not answered, in order.
        inbox: its answers that nobody has looked at.
        is_over: whether no further answer will come.
        has_answered: whether any of its answers made sense.
        deadline: when the first of `in_flight` must be answered, on the loop's clock.
        loaded: its models by name.
        resident_bytes: its resident memory when it last answered.
        texts: how many it has answered.
        compute_s: how long it has computed for that.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        answers: asyncio.StreamReader,
        transport: asyncio.ReadTransport,
        wake: asyncio.Event,
    ) -> None:
        self.pid = process.pid
        self.wake = wake
        self.in_flight: deque[R] = deque()
        self.inbox: deque[tuple[Header, bytes]] = deque()
        self.is_over = False
        self.has_answered = False
        self.deadline: float | None = None
        self.loaded: dict[str, LoadedModel] = {}
        self.resident_bytes = 0
        self.texts = 0
        self.compute_s = 0.0
        self._process = process
        self._transport = transport
        self._noise = b""
        self._readers = (
            asyncio.create_task(self._receive(answers)),
            asyncio.create_task(self._listen()),
        )

    @classmethod
    async def start(cls, command: Sequence[str], wake: asyncio.Event) -> "ModelProcess[R]":
        """Start a process, in a session of its own so that no signal for us reaches it.

        Raises:
            OSError: it cannot be started.
        """
        *program, threads = command
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb")
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *program,
                str(theirs),
                threads,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(theirs,),
                start_new_session=True,
                env=_environment(int(threads)),
            )
        except BaseException:
            transport.close()
            raise
        finally:
            os.close(theirs)
        return cls(process, reader, transport, wake)

    def send(self, request: R, frame: bytes, limit_s: float) -> None:
        """Ask for something; what is in flight bounds what piles up in the pipe."""
        assert self._process.stdin is not None
        if not self.in_flight:
            self.start_clock(limit_s)
        self.in_flight.append(request)
        self._process.stdin.write(frame)

    def start_clock(self, limit_s: float) -> None:
        """Give the first request in flight its time from now on."""
        self.deadline = asyncio.get_running_loop().time() + limit_s

    def describe(self) -> ProcessStatus:
        """Say what it is and does."""
        return ProcessStatus(
            self.pid, self.resident_bytes, tuple(sorted(self.loaded)), self.texts, self.compute_s
        )

    def fate(self) -> str:
        """Say how it ended."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"it ended with code {code}"
        return f"it was killed by {signal.Signals(-code).name}"

    def said(self) -> str:
        """Quote the end of what it printed."""
        return self._noise.decode("utf-8", "replace")[-500:].strip()

    async def end(self, *, is_stuck: bool) -> None:
        """Let it end, or make it; returns when it is gone."""
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
        # Its pipes end with it, unless something it started still holds them.
        _, late = await asyncio.wait(self._readers, timeout=LAST_WORDS_S)
        for reader in late:
            reader.cancel()
        self._transport.close()

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
            log.warning("model process %d spoke nonsense: %s", self.pid, error)
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
    """Our own environment, with what the libraries in a model process read when imported."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        # Threads that spin while they wait for one another come to a standstill, up to 15 times
        # slower, as soon as anything else wants the same cores.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_NUM_THREADS": str(threads),
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",  # kernels kept, of 0.7 MB each
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
