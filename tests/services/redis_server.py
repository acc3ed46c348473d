"""Starts and stops a real Redis server."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.services.nx import free_port

PROGRAM = "redis-server"
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10


class RedisServer:
    """A server on a port of its own, which can be stopped and started again.

    Attributes:
        url: its address.
    """

    def __init__(self, program: Path, home: Path, *, password: str = "") -> None:
        self._program = program
        self._home = home
        self._port = free_port()
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        secret = f":{password}@" if password else ""
        self.url = f"redis://{secret}127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Run it and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; with what it printed.
        """
        output = self._home / "output"
        password = ["--requirepass", self._password] if self._password else []
        with output.open("wb") as sink:
            self._process = subprocess.Popen(
                [
                    str(self._program),
                    *("--bind", "127.0.0.1", "--port", str(self._port)),
                    *("--save", "", "--dir", str(self._home), *password),
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with redis.Redis.from_url(self.url) as client:  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part
                try:
                    client.ping()  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part
                except redis.ConnectionError:
                    time.sleep(0.02)
                else:
                    return
        raise RuntimeError(f"{PROGRAM} does not answer: {output.read_text(errors='replace')}")

    def stop(self) -> None:
        """End it. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_redis(*, password: str = "") -> Generator[RedisServer]:
    """Run a server; skips where there is no program."""
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.skip("no redis-server: install it (Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory(prefix="redis-") as home:
        server = RedisServer(Path(program), Path(home), password=password)
        try:
            server.start()
            yield server
        finally:
            server.stop()
