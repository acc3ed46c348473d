"""Child processes that do jobs, one each at a time, and are used again while they are well."""

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.process import COMMAND, ChildProcess
from aletheia.adapters.local.wire import Header
from aletheia.analysis.time_limits import not_counted
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask

log = logging.getLogger(__name__)

MAX_JOBS: Final = 500
"""Jobs after which a child is replaced, so that what libraries leak stays little."""

MAX_IDLE_SHARE: Final = 0.5
"""Share of its memory that a child may still have after a job without being replaced."""

START_TIMEOUT_S: Final = 60.0

NOT_STARTED: Final = "decoder_unavailable"
"""Code of a job that nobody could do: it says nothing about the job."""

_OUT_OF_MEMORY: Final = ("bad_alloc", "out of memory", "memoryerror", "cannot allocate memory")
"""How libraries say that there is none, in small letters, before they end their process."""


@dataclass(frozen=True, slots=True)
class Job:
    """A call of a function in a child."""

    function: str  # `module:function`, a name of the program's, never of a task's
    limits: JobLimits
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])  # JSON, small
    descriptors: Sequence[int] = ()  # of the files it works on, open here
    is_careful: bool = False  # whether no piece waits for the next one, see `child.TOGETHER_S`


class Children:
    """At most `count` children of `memory_bytes` of address space each."""

    def __init__(
        self,
        memory_bytes: int,
        *,
        count: int = 1,
        max_jobs: int = MAX_JOBS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._memory_bytes, self._max_jobs, self._command = memory_bytes, max_jobs, command
        self._slots = asyncio.Semaphore(count)
        self._idle: list[ChildProcess] = []
        self._is_open = False
        self._ending = set[asyncio.Task[Any]]()

    @property
    def idle_pids(self) -> tuple[int, ...]:
        """The processes that wait for a job."""
        return tuple(child.pid for child in self._idle)

    async def open(self) -> None:
        """Make ready; a child is started when there is a job for it. Idempotent."""
        self._is_open = True

    async def close(self) -> None:
        """End all children that have no job; the others end with theirs. Idempotent."""
        self._is_open = False
        idle, self._idle = self._idle, []
        await asyncio.gather(*(child.end() for child in idle))
        if self._ending:
            await asyncio.wait(self._ending)

    async def run(self, job: Job) -> AsyncGenerator[Any]:
        """Do a job; yield the pieces of its result as they are made.

        What was yielded before an error is whole. Leaving early ends the child. Of pieces that are
        made quickly the last ones may be lost with a child that dies, unless the job is careful.

        Raises:
            InvalidTask: `too_large` (memory, or the result), and what the job itself raises.
            ComputeFailed: `decoder_died`, `decoder_unavailable`, `too_slow`, `decoder_error`, and
                what the job raises.
        """
        async with self._slot():
            child = await self._take()
            is_well = False
            try:
                outcome = None
                async with aclosing(self._answers(child, job)) as answers:
                    async for outcome in answers:
                        if isinstance(outcome, bytes):
                            for piece in orjson.loads(outcome):
                                yield piece
                assert isinstance(outcome, dict)
                is_well = self._is_well(child, outcome)
                if outcome["op"] == "failed":
                    raise _read_error(outcome)
            finally:
                await self._release(child, is_well)

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        """Wait for one of the children; a task's time limit does not count how long others take."""
        with not_counted():
            await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()

    async def _answers(self, child: ChildProcess, job: Job) -> AsyncGenerator[bytes | Header]:
        """Yield the pieces of a job's result, and at last its outcome."""
        request = {
            "job": job.function,
            "arguments": job.arguments,
            "processor_s": job.limits.processor_s,
            "is_careful": job.is_careful,
        }
        with suppress(OSError):  # one that is gone says so below
            child.send(request, job.descriptors)
        left_s, size = job.limits.wall_s, 0
        now = asyncio.get_running_loop().time
        while True:
            since = now()
            piece_s = left_s if job.limits.piece_s is None else min(left_s, job.limits.piece_s)
            try:
                async with asyncio.timeout(piece_s):
                    received = await child.receive()
            except TimeoutError:
                reason = f"it took more than {min(job.limits.wall_s, piece_s):g} s"
                raise ComputeFailed("too_slow", reason) from None
            except ValueError as error:
                raise ComputeFailed("decoder_died", f"its decoder broke off: {error}") from error
            left_s -= now() - since
            if received is None:
                raise await self._explain_end(child, job)
            header, body = received
            if header["op"] != "pieces":
                yield header
                return
            size += len(body)
            if size > job.limits.result_bytes:
                reason = f"its result has more than {job.limits.result_bytes:,} bytes"
                raise InvalidTask("too_large", reason)
            yield body

    async def _take(self) -> ChildProcess:
        """Return a child that is ready, a new one where none waits."""
        while self._idle:
            child = self._idle.pop()
            if not child.is_over:
                return child
            await child.end()
        starting = asyncio.create_task(ChildProcess.start(self._command, self._memory_bytes))
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._end_later(starting)
            raise
        except OSError as error:
            raise ComputeFailed(NOT_STARTED, f"no process can be started: {error}") from error
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                ready = await child.receive()
        except TimeoutError:
            ready = None
        except BaseException:
            await child.end()
            raise
        if ready is None:
            await child.end()
            log.warning("child process %d did not start: %s", child.pid, child.said()[-500:])
            raise ComputeFailed(NOT_STARTED, "the process that decodes it did not start")
        return child

    def _end_later(self, starting: asyncio.Task[ChildProcess]) -> None:
        async def end() -> None:
            with suppress(OSError):
                await (await starting).end()

        ending = asyncio.create_task(end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _release(self, child: ChildProcess, is_well: bool) -> None:
        if is_well and self._is_open:
            self._idle.append(child)
        else:
            await child.end()

    def _is_well(self, child: ChildProcess, outcome: Header) -> bool:
        return (
            bool(outcome.get("is_well", True))
            and child.jobs < self._max_jobs
            and int(outcome["memory_bytes"]) <= MAX_IDLE_SHARE * self._memory_bytes
        )

    async def _explain_end(self, child: ChildProcess, job: Job) -> AletheiaError:
        """Return the error of a job whose child has ended."""
        code = await child.end()
        said = child.said()
        log.warning("child process %d ended with %d in a job: %s", child.pid, code, said[-500:])
        if code == -signal.SIGXCPU:
            limit = f"{job.limits.processor_s:g} s of processor time"
            return ComputeFailed("too_slow", f"it took more than {limit}")
        if any(words in said.lower() for words in _OUT_OF_MEMORY):
            return InvalidTask("too_large", "it needs more memory than it may use")
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        return ComputeFailed("decoder_died", f"the process that decodes it ended with {how}")


def _read_error(outcome: Header) -> AletheiaError:
    kind = InvalidTask if outcome["kind"] == "invalid" else ComputeFailed
    return kind(str(outcome["code"]), str(outcome["message"]))
