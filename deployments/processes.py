"""Processes, ports, logs and requests of one machine."""

import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import httpx
import psutil

from aletheia.errors import AletheiaError

HOST: Final = "127.0.0.1"

SAY_EVERY_S: Final = 10.0

REQUEST_TIMEOUT_S: Final = 20.0

MAX_LOG_BYTES: Final = 10_000_000
"""A longer log is renamed when its program starts."""

Say: TypeAlias = Callable[[str], None]


class ProgramFailed(AletheiaError):
    """A program did not start, or ended before it should; `tail` is the end of its log."""

    code = "program_failed"

    def __init__(self, program: str, reason: str, log: Path, tail: str) -> None:
        super().__init__(program, reason, log, tail)
        self.program, self.reason, self.log, self.tail = program, reason, log, tail

    def __str__(self) -> str:
        return f"the {self.program} {self.reason}; its log is {self.log}"


class Waiting:
    """Sleeps between two checks, and prints now and then what is being waited for."""

    def __init__(self, say: Say, what: str) -> None:
        self._say, self._what = say, what
        self._began = self._said = time.monotonic()

    def go_on(self, timeout_s: float, *, pause_s: float = 0.2) -> bool:
        """Sleep a little; return `False` when the time is over."""
        now = time.monotonic()
        if now - self._began >= timeout_s:
            return False
        if now - self._said >= SAY_EVERY_S:
            self._say(f"waiting for {self._what}: {now - self._began:.0f} s")
            self._said = now
        time.sleep(pause_s)
        return True


def is_alive(pid: int, marks: Mapping[str, str]) -> bool:
    """Check whether a process lives and has these variables in its environment."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return all(environment.get(name) == value for name, value in marks.items())


def end_processes(processes: Sequence[psutil.Process], timeout_s: float) -> None:
    """Terminate processes, and kill those that have not ended after some seconds."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(list(processes), timeout=timeout_s)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout_s)


def is_free(port: int) -> bool:
    """Check whether a port of this machine is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return cast("int", probe.getsockname()[1])


def is_long(log: Path) -> bool:
    """Check whether a log is longer than `MAX_LOG_BYTES`."""
    return log.exists() and log.stat().st_size > MAX_LOG_BYTES


def first_json(log: Path, start: int) -> dict[str, Any] | None:
    """Return the first complete line of a log, from an offset on, that is a JSON object."""
    try:
        lines = log.read_bytes()[start:].splitlines(keepends=True)
    except OSError:
        return None
    for line in lines:
        if line.endswith(b"\n"):
            with suppress(ValueError):
                value: object = json.loads(line)
                if isinstance(value, dict):
                    return cast("dict[str, Any]", value)
    return None


def is_listening(pid: int, port: int) -> bool:
    """Check whether a process, or one that it started, listens at a port of this machine."""
    try:
        process = psutil.Process(pid)
        # To find its children takes a look at every process.
        return _listens(process, port) or any(
            _listens(child, port) for child in process.children(recursive=True)
        )
    except psutil.Error:
        return False


def _listens(process: psutil.Process, port: int) -> bool:
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr[1] == port
        for connection in process.net_connections("tcp")
    )


def request(
    method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Any:
    """Send a request to a program of this machine; return `None` without a good answer."""
    try:
        with httpx.Client(trust_env=False, timeout=REQUEST_TIMEOUT_S) as client:
            answer = client.request(method, url, json=body, headers=headers)
        return answer.json() if answer.is_success and answer.content else None
    except (httpx.HTTPError, ValueError):
        return None
