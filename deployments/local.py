"""The servers of one machine, as plain processes: Prefect, a worker, the example servers.

A process is ours only if its environment says so: a process id may belong to another program by
now, and what our programs started is found and ended with them.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import psutil

from aletheia.errors import Misconfigured, Unavailable
from deployments import ROOT
from deployments.local_runs import RUN_END_TIMEOUT_S, WORK_POOL, ServerApi
from deployments.private_files import make_sign_in, read_sign_in
from deployments.processes import (
    HOST,
    MAX_LOG_BYTES,
    ProgramFailed,
    Say,
    end_processes,
    free_port,
    is_alive,
    is_free,
    listening_ports,
    request,
    wait,
)

Name: TypeAlias = Literal["server", "worker", "upstream", "payload", "providers", "service"]

TITLES: Final[Mapping[Name, str]] = {
    "service": "service",
    "worker": "worker",
    "upstream": "example upstream",
    "payload": "example application",
    "providers": "example providers",
    "server": "Prefect server",
}
"""What programs are called, in the order in which they are ended."""

WORKER: Final = "local"
"""Name of the worker; one per server."""

DIRECTORY_MARK: Final = "ALETHEIA_LOCAL_DIRECTORY"
NAME_MARK: Final = "ALETHEIA_LOCAL_PROGRAM"
"""Environment variables that mark our processes, and those they start."""

START_TIMEOUT_S: Final = 120.0
"""For a program to answer; a cold disk takes a minute to import Prefect."""

STOP_TIMEOUT_S: Final = 15.0

TAIL_LINES: Final = 25
"""The end of a log that an error shows."""

PORT_TRIES: Final = 3
"""Another program may take a port between our check and the server's start."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was started: its process and, for a server, its address."""

    name: Name
    pid: int
    url: str | None = None


class Local:
    """The servers below one directory, which has `prefect/ logs/ run/` and the file `password`.

    `say` prints what is being waited for.
    """

    def __init__(self, directory: Path, say: Say = lambda _: None) -> None:
        self.directory = directory.resolve()
        self._say = say
        self._children: dict[Name, subprocess.Popen[bytes]] = {}

    def log(self, name: Name) -> Path:
        """Return the file that a program writes to."""
        return self.directory / "logs" / f"{name}.log"

    def failure(self, name: Name, reason: str, *, title: str = "") -> ProgramFailed:
        """Return the error about a program, or what runs in it, with the end of its log."""
        return ProgramFailed(title or TITLES[name], reason, self.log(name), self._tail(name))

    def _tail(self, name: Name) -> str:
        try:
            text = self.log(name).read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-TAIL_LINES:])

    def running(self, name: Name) -> Program | None:
        """Return a program; `None` unless it runs now."""
        try:
            record: dict[str, Any] = json.loads(self._record(name).read_text())
            program = Program(**record)
        except (OSError, ValueError, TypeError):
            return None
        mine = {DIRECTORY_MARK: str(self.directory), NAME_MARK: name}
        return program if is_alive(program.pid, mine) else None

    @property
    def password_file(self) -> Path:
        """The file with user and password of the Prefect server, as `user:password`."""
        return self.directory / "password"

    def server_url(self) -> str | None:
        """Return the root of the Prefect server; `None` unless our own process listens there."""
        server = self.running("server")
        return server.url if server is not None and _is_listening(server) else None

    def environment(self, server_url: str | None = None) -> dict[str, str]:
        """Return the environment for programs that use a server, by default the running one.

        It is our own, with every setting of Prefect's replaced: a server, a profile or a database
        that is configured for something else is never touched.
        """
        server_url = server_url or self.server_url()
        home = self.directory / "prefect"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        # An HTTP proxy has no business between programs of one machine.
        exempt = [ours.get("NO_PROXY") or ours.get("no_proxy"), HOST, "localhost"]
        ours["NO_PROXY"] = ours["no_proxy"] = ",".join(name for name in exempt if name)
        if server_url is not None:
            ours["PREFECT_API_URL"] = f"{server_url}/api"
            ours["PREFECT_API_AUTH_STRING"] = read_sign_in(self.password_file) or ""
        return ours | {
            DIRECTORY_MARK: str(self.directory),
            "PREFECT_HOME": str(home),
            "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home}/prefect.db",
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # By default the server writes each change of a task run on its own, which takes it half
            # of its time; the UI shows them a second later.
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
        }

    def start_server(self, *, port: int | None = None) -> Program:
        """Start the Prefect server unless it runs, at this port or, if it is taken, any other."""
        with self._locked():
            if (running := self.running("server")) is not None:
                self._await_server(running)
                return running
            if read_sign_in(self.password_file) is None:
                make_sign_in(self.password_file)
            port = port if port is not None and is_free(port) else free_port()
            for tries_left in reversed(range(PORT_TRIES)):
                url = f"http://{HOST}:{port}"
                command = ["prefect", "server", "start", "--host", HOST, "--port", str(port)]
                environment = self.environment(url) | {
                    "PREFECT_SERVER_API_AUTH_STRING": read_sign_in(self.password_file) or "",
                    # Without `localhost`: another user may listen there, at the same port of ::1.
                    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
                    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
                }
                program = self._start("server", command, environment, url=url)
                try:
                    self._await_server(program)
                except ProgramFailed:
                    if not tries_left or is_free(port):
                        raise
                    port = free_port()
                else:
                    return program
            raise AssertionError

    def start_worker(self, settings: Mapping[str, str] | None = None) -> Program:
        """Start a worker unless it runs, with `settings` for its runs; wait until it is known."""
        with self._locked():
            if (running := self.running("worker")) is not None:
                return running
            self.api.settle_lost_runs()
            began = datetime.now(UTC)
            command = ["prefect", "worker", "start", "--pool", WORK_POOL]
            command += ["--type", "process", "--name", WORKER]
            environment = self.environment() | dict(settings or {})
            program = self._start("worker", command, environment)
            self._wait(program, lambda: self._has_worker(began))
            return program

    def start_service(
        self, settings: Mapping[str, str] | None = None, *, port: int | None = None
    ) -> Program:
        """Start the service unless it runs, at this port or, if it is taken, any other."""
        with self._locked():
            if (running := self.running("service")) is not None:
                return running
            port = port if port is not None and is_free(port) else free_port()
            url = f"http://{HOST}:{port}"
            command = ["deployments.cli", "serve", "--host", HOST, "--port", str(port)]
            environment = self.environment() | dict(settings or {})
            program = self._start("service", command, environment, cwd=ROOT, url=url)
            self._wait(
                program,
                lambda: _is_listening(program) and request("GET", f"{url}/health") is not None,
            )
            return program

    def start_example(self, name: Name, options: Sequence[str] = ()) -> Program:
        """Start an example server unless it runs; `options` are more of its command line."""
        with self._locked():
            if (running := self.running(name)) is not None:
                return running
            command = [f"deployments.examples.{name}", *options]
            environment = self.environment() | {"PREFECT_API_AUTH_STRING": ""}
            started = self._start(name, command, environment, cwd=ROOT)
            self._wait(started, lambda: listening_ports(started.pid))
            port = min(listening_ports(started.pid))
            program = replace(started, url=f"http://{HOST}:{port}")
            self._write(program)
            return program

    def stop(self) -> list[str]:
        """Cancel runs, end every program and whatever they started; return what was, in words."""
        with self._locked():
            ended: list[str] = []
            # Without a password that can be used, they end with their worker.
            with suppress(Misconfigured):
                if self.running("worker") and (cancelled := self.api.cancel_runs(self._say)):
                    ended.append(f"{cancelled} runs")
            for name in TITLES:
                program = self.running(name)
                if program is not None:
                    end_processes([psutil.Process(program.pid)], STOP_TIMEOUT_S)
                    ended.append(TITLES[name])
                self._record(name).unlink(missing_ok=True)
            if left := self.processes():
                end_processes(left, STOP_TIMEOUT_S)
            for child in self._children.values():
                child.wait()
            self._children.clear()
            return ended

    @property
    def api(self) -> ServerApi:
        """The API of the Prefect server."""
        return ServerApi(self.server_url(), read_sign_in(self.password_file) or "")

    def processes(self) -> list[psutil.Process]:
        """Return every process of this directory but this one and its parents."""
        ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        mark = {DIRECTORY_MARK: str(self.directory)}
        return [
            process
            for process in psutil.process_iter()
            if process.pid not in ours and is_alive(process.pid, mark)
        ]

    def _record(self, name: Name) -> Path:
        return self.directory / "run" / f"{name}.json"

    def _write(self, program: Program) -> None:
        self._record(program.name).write_text(json.dumps(asdict(program)))

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Exclude other commands that start and stop programs here."""
        # Prefect's database holds the credentials of all blocks, and the key to them.
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        for name in ("prefect", "logs", "run"):
            (self.directory / name).mkdir(exist_ok=True)
        with (self.directory / "run" / "lock").open("w") as lock:
            timeout_s = START_TIMEOUT_S + RUN_END_TIMEOUT_S
            for _ in wait(self._say, "another start or stop to finish", timeout_s):
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
            else:
                raise Unavailable("local servers", "another command holds them")
            yield

    def _start(
        self,
        name: Name,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: Path | None = None,
        url: str | None = None,
    ) -> Program:
        log = self.log(name)
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.old"))
        # A shell that runs us in the background has us ignore Ctrl-C, and so would our children,
        # and Prefect's worker turns the signal to end into just that one.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if (ended := self._children.pop(name, None)) is not None:
            ended.kill()
            ended.wait()
        log.touch(mode=0o600)
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", *command],
                # Outside the checkout, so that Prefect's settings in `.env` stay out of it.
                cwd=cwd or self.directory / "prefect",
                env={**environment, NAME_MARK: name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
            )
        self._children[name] = child
        program = Program(name, child.pid, url)
        self._write(program)
        return program

    def _await_server(self, server: Program) -> None:
        """Wait until our own process answers; nothing is sent to another that listens there."""
        health = f"{server.url}/api/health"
        self._wait(server, lambda: _is_listening(server) and request("GET", health) is True)
        probe = "/admin/version"
        if request("GET", f"{server.url}/api{probe}") is not None:
            reason = "asks for no password; end it with `make down`, then start it again"
            raise self.failure("server", reason)
        if self.api.call("GET", probe) is None:
            raise self.failure("server", f"refuses the password in {self.password_file}")

    def _wait(self, program: Program, is_ready: Callable[[], object]) -> None:
        for _ in wait(self._say, f"the {TITLES[program.name]}", START_TIMEOUT_S):
            if is_ready():
                return
            if self._is_gone(program.name):
                raise self.failure(program.name, "ended at once")
        raise self.failure(program.name, f"gave no answer within {START_TIMEOUT_S:.0f} s")

    def _is_gone(self, name: Name) -> bool:
        # A process that has just been started has no environment yet that could be read.
        child = self._children.get(name)
        return self.running(name) is None if child is None else child.poll() is not None

    def _has_worker(self, since: datetime) -> bool:
        body = {"workers": {"last_heartbeat_time": {"after_": since.isoformat()}}}
        found = self.api.read_list(f"/work_pools/{WORK_POOL}/workers/filter", body)
        return any(worker["name"] == WORKER for worker in found)


def _is_listening(server: Program) -> bool:
    return urlsplit(server.url or "").port in listening_ports(server.pid)
