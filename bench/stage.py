"""Where a bench takes place: a directory, a Prefect server, the upstream, and whoever plays."""

import asyncio
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from bench.programs import BenchFailed, Message, Program, default_environment
from deployments.environment import local_servers
from deployments.local import Local

START_TIMEOUT_S: Final = 180.0
"""For a program to be ready while all others start beside it."""

POLL_LIMIT: Final = 100
"""Tasks a page, for everybody who polls: what the example upstream serves at most."""

POLLING_INTERVAL_S: Final = 3.0
"""How often the pipeline looks for a new round: soon, and not so often that it costs the others."""


class Stage:
    """What every bench needs.

    Args:
        local: the Prefect server, and the mark of every process.
        upstream: serves every contender.
        url: address of the upstream, to which a contender adds its name.
        environment: of every program, with the defaults of all settings.
    """

    def __init__(
        self, local: Local, upstream: Program, url: str, environment: Mapping[str, str]
    ) -> None:
        self.local, self._upstream, self._url = local, upstream, url
        self._environment = environment
        self._programs: list[Program] = [upstream]

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator["Stage"]:
        """Start server and upstream; at the end, however it comes, end and remove everything."""
        data_dir = local_servers().directory
        data_dir.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="bench-", dir=data_dir))
        local = Local(directory)
        stage: Stage | None = None
        try:
            say("starting a Prefect server and the upstream")
            server = await asyncio.to_thread(local.start_server)
            environment = default_environment(local.environment(server.url))
            upstream = await Program.start(
                "upstream", ["bench.upstream"], directory=directory, environment=environment
            )
            url = (await upstream.listen(START_TIMEOUT_S))["url"]
            stage = cls(local, upstream, url, environment)
            yield stage
        finally:
            say("cleaning up")
            if stage is not None:
                await asyncio.gather(*(program.stop() for program in stage._programs))
            # Whatever is left carries the directory's mark and is ended with the server.
            await asyncio.to_thread(local.stop)
            shutil.rmtree(directory, ignore_errors=True)

    @property
    def directory(self) -> Path:
        """Where everything of this bench is; on the disk of the embedded store."""
        return self.local.directory

    def url(self, name: str) -> str:
        """Return the base URL of a contender's upstream."""
        return f"{self._url}/{name}"

    async def start(self, name: str, command: Sequence[str], **settings: str) -> Program:
        """Start a program.

        Args:
            name: of the contender it belongs to.
            command: see `Program.start`.
            settings: added to its environment.
        """
        environment = {**self._environment, **settings}
        program = await Program.start(
            name, command, directory=self.directory, environment=environment
        )
        self._programs.append(program)
        return program

    async def start_pipeline(self, name: str, **settings: str) -> Program:
        """Start one long shift of `poll_tasks`, with default settings but for these."""
        command = ["bench.pipeline", self.url(name), str(self.directory / "data")]
        ours = {
            "POLLING_INTERVAL_SECONDS": f"{POLLING_INTERVAL_S:g}",
            "POLL_LIMIT": str(POLL_LIMIT),
        }
        return await self.start(name, command, **(ours | settings))

    async def ask_upstream(self, timeout_s: float, **request: Any) -> Message:
        """Ask the upstream something; see `bench.upstream`."""
        return await self._upstream.ask(timeout_s, **request)

    async def finish(self, timeout_s: float, name: str, players: Sequence[Program]) -> Message:
        """Wait until every task of a contender was reported.

        Raises:
            BenchFailed: a program it consists of has ended, or it took too long.
        """
        finishing = asyncio.create_task(self.ask_upstream(timeout_s, op="finish", name=name))
        endings = [asyncio.create_task(player.wait()) for player in players]
        try:
            await asyncio.wait([finishing, *endings], return_when=asyncio.FIRST_COMPLETED)
            if finishing.done():
                return finishing.result()
            raise next(
                player.failed("ended")
                for player, ending in zip(players, endings, strict=True)
                if ending.done()
            )
        except BenchFailed as failure:
            said = "\n".join(player.failed("its log").reason for player in players)
            raise BenchFailed(f"{failure}\n{said}") from None
        finally:
            for task in (finishing, *endings):
                task.cancel()


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


_began_at = time.monotonic()


def say(line: str) -> None:
    """Print what is going on, and when."""
    print(f"[{time.monotonic() - _began_at:5.0f} s] {line}", flush=True)


def perform(bench: Callable[[], Awaitable[None]]) -> None:
    """Run a bench; Ctrl-C and SIGTERM end it in order, a failure exits with 1."""
    # A shell that runs us in the background has us, and so our programs, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def play() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await bench()

    try:
        asyncio.run(play())
    except BenchFailed as failure:
        sys.exit(f"\nThe bench failed: {failure}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("\nThe bench was ended before its end.")
