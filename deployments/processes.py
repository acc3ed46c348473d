"""Processes, ports, logs and requests of one machine."""

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import httpx
import psutil

from aletheia.errors import AletheiaError

HOST: Final = "127.0.0.1"

PAUSE_S: Final = 0.2

REQUEST_TIMEOUT_S: Final = 20.0

_NO_AUTHORITIES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For http only; httpx takes 18 ms to read the usual ones."""

MAX_LOG_BYTES: Final = 10_000_000
"""A longer log is renamed when its program starts."""

Say: TypeAlias = Callable[[str], None]


@dataclass(eq=False)
class ProgramFailed(AletheiaError):
    """A program did not start, or ended before it should; `tail` is the end of its log."""

    program: str
    reason: str
    log: Path
    tail: str
    code = "program_failed"
    sentence = "the {program} {reason}; its log is {log}"


def wait(say: Say, what: str, timeout_s: float) -> Generator[None]:
    """Yield now and then until the time is over, and say what is being waited for."""
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < timeout_s:
        yield
        say(f"waiting for {what}: {waited_s:.0f} s")
        time.sleep(PAUSE_S)


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


def listening_ports(pid: int) -> set[int]:
    """Return the ports at which a process listens, or else those of the ones that it started."""
    try:
        process = psutil.Process(pid)
        if ports := _ports(process):
            return ports
        # Finding its children reads every process.
        return {port for child in process.children(recursive=True) for port in _ports(child)}
    except psutil.Error:
        return set()


def _ports(process: psutil.Process) -> set[int]:
    return {
        connection.laddr[1]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def run_module(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], timeout_s: float
) -> str | None:
    """Run a Python module to its end; return what it printed if it failed."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {timeout_s:.0f} s"
    said = done.stdout.decode(errors="replace").strip()
    return said or f"exit code {done.returncode}" if done.returncode else None


def request(
    method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Any:
    """Send a request (http only) to a program of this machine; `None` without a good answer."""
    try:
        with httpx.Client(
            trust_env=False, timeout=REQUEST_TIMEOUT_S, verify=_NO_AUTHORITIES
        ) as client:
            answer = client.request(method, url, json=body, headers=headers)
        return answer.json() if answer.is_success and answer.content else None
    except (httpx.HTTPError, ValueError):
        return None
