"""The programs of a bench: processes that answer requests, one JSON object a line each way."""

import asyncio
import inspect
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic_settings import BaseSettings

from aletheia import settings
from aletheia.errors import AletheiaError
from aletheia.telemetry import TelemetrySettings
from deployments import ROOT
from deployments.local import NAME_MARK

Message: TypeAlias = dict[str, Any]

STOP_TIMEOUT_S: Final = 15.0
"""How long a program may take to end when it is asked to."""

LOG_LINES: Final = 25


class BenchFailed(AletheiaError):
    """The bench cannot go on, or its result would mean nothing.

    Args:
        reason: what happened, for whoever started it.
    """

    code = "bench_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def default_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out of an environment every setting of Aletheia's, so that the defaults hold."""
    areas = [
        area
        for area in (*vars(settings).values(), TelemetrySettings)
        if inspect.isclass(area) and issubclass(area, BaseSettings)
    ]
    names = {name.upper() for area in areas for name in area.model_fields}
    kept = {name: value for name, value in environment.items() if name.upper() not in names}
    return kept | {"PYTHONPATH": str(ROOT)}


class Program:
    """A program under way.

    Args:
        name: what its processes are marked with.
        log: where it writes what is not an answer.
        process: it.
    """

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name, self._log, self._process = name, log, process

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
    ) -> "Program":
        """Start a program, outside of the checkout, so that its `.env` stays out of it.

        Args:
            name: of the program; several programs may have the same.
            command: the program and its arguments; one that begins with a module of ours is run
                by this Python.
            directory: where it works and logs.
            environment: all of it, but for the mark.
        """
        if command[0].startswith("bench."):
            command = [sys.executable, "-m", *command]
        log = directory / f"{name}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=directory,
                env={**environment, NAME_MARK: name},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                # Ctrl-C is for us alone: we end them in order.
                start_new_session=True,
            )
        return cls(name, log, process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()

    async def ask(self, timeout_s: float, **request: Any) -> Message:
        """Send a request and wait for its answer.

        Raises:
            BenchFailed: it ended, or gave no answer in time, or says that it failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return await self.listen(timeout_s)

    async def listen(self, timeout_s: float) -> Message:
        """Wait for the next line it says.

        Raises:
            BenchFailed: see `ask`.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise self.failed(f"gave no answer within {timeout_s:.0f} s") from None
        if not line:
            raise self.failed("ended")
        answer: Message = json.loads(line)
        if "failed" in answer:
            raise self.failed(str(answer["failed"]))
        return answer

    def failed(self, reason: str) -> BenchFailed:
        """Return what went wrong with it, with the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return BenchFailed("\n".join([f"{self.name}: {reason}", *lines]))

    async def stop(self) -> None:
        """End it and what it started."""
        for signum in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                if signum is signal.SIGKILL:
                    os.killpg(self.pid, signum)
                else:
                    self._process.send_signal(signum)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._process.wait()


def say(**message: Any) -> None:
    """Send a line to the bench that started this program."""
    print(json.dumps(message), file=sys.__stdout__, flush=True)


def answer_requests(answer: Callable[[Message], Message]) -> None:
    """Answer requests until there will be no more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for line in sys.stdin:
        say(**answer(json.loads(line)))


async def answer_requests_async(answer: Callable[[Message], Awaitable[Message]]) -> None:
    """Answer requests, beside whatever else the event loop does, until there will be no more."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        say(**await answer(json.loads(line)))
