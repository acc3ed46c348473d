"""Starts and stops a real Neo4j: the jars that `install_neo4j.sh` installs, run by Java.

python -m tests.services.neo4j_server     a server to play with, until Ctrl-C
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import neo4j

from tests.services.nx import free_port

JARS: Final = Path(__file__).parents[2] / ".services" / "neo4j" / "lib"
CLASSES: Final = JARS.parent / "classes.jsa"
"""What a start loads, as it is in memory, by `install_neo4j.sh`; Java ignores what does not fit."""

USERNAME: Final = "neo4j"
PASSWORD: Final = "aletheia-tests"

START_TIMEOUT_S: Final = 120
STOP_TIMEOUT_S: Final = 20

_OPENED: Final = (
    "java.nio",
    "java.io",
    "java.lang",
    "java.lang.reflect",
    "java.util",
    "java.util.concurrent",
    "java.math",
    "java.net",
    "sun.nio.ch",
)
"""Packages of `java.base` that Neo4j reads, as its own start script opens them."""


@dataclass(frozen=True, slots=True)
class Neo4jAddress:
    """Where a server is, and how to sign in."""

    uri: str
    username: str = USERNAME
    password: str = PASSWORD


def is_empty(address: Neo4jAddress) -> bool:
    """Check whether a server's database holds no node."""
    with _connected(address) as driver:
        found = driver.execute_query("MATCH (n) RETURN 1 LIMIT 1", database_="neo4j")
        return not found.records


def empty(address: Neo4jAddress, *, keeps_model: bool = False) -> None:
    """Delete all nodes and vectors' indexes of a server's database; constraints may stay.

    Args:
        address: of the server.
        keeps_model: whether the embedding model stays, and its index. Otherwise the next test makes
            them anew, and the server plans every statement once more.
    """
    chosen = "WHERE NOT n:BrainModel " if keeps_model else ""
    with _connected(address) as driver:
        if not keeps_model:
            driver.execute_query("DROP INDEX aletheia_item_vector IF EXISTS", database_="neo4j")
        with driver.session(database="neo4j") as session:
            session.run(
                f"MATCH (n) {chosen}CALL (n) {{ DETACH DELETE n }} IN TRANSACTIONS OF 2000 ROWS"
            ).consume()


@contextmanager
def _connected(address: Neo4jAddress) -> Generator[Any]:
    database: Any = neo4j.GraphDatabase
    auth = (address.username, address.password)
    with database.driver(address.uri, auth=auth, notifications_min_severity="OFF") as driver:
        yield driver


def find_java() -> Path | None:
    """Find the program that runs Neo4j, in `JAVA_HOME` or on the path."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    return None if found is None else Path(found)


def what_is_missing() -> str | None:
    """Return why no server can be started here; `None` if one can."""
    if find_java() is None:
        return "no Java: install one (Debian: apt-get install default-jre-headless)"
    if not any(JARS.glob("neo4j-server-*.jar")):
        return "no Neo4j: run `make services`"
    return None


class Neo4jServer:
    """A server with a home and ports of its own, which can be stopped or killed, and started again.

    Its data stays until the home goes.

    Args:
        home: an empty directory.
        heap: of the process, as Java writes it.
        page_cache: for what is on disk, as Neo4j writes it.
        is_short_lived: whether it is better up soon than fast.

    Attributes:
        address: where it answers, of the scheme `bolt`.
        browser: address of its web pages.
    """

    def __init__(
        self,
        home: Path,
        *,
        heap: str = "512m",
        page_cache: str = "256m",
        is_short_lived: bool = True,
    ) -> None:
        self._home = home
        self._heap, self._page_cache = heap, page_cache
        self._is_short_lived = is_short_lived
        self._bolt, self._http = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.address = Neo4jAddress(f"bolt://127.0.0.1:{self._bolt}")
        self.browser = f"http://127.0.0.1:{self._http}"

    def start(self, settings: Mapping[str, str] | None = None) -> int:
        """Run it, and wait until it answers.

        Args:
            settings: of Neo4j, beside those that every server here has.

        Returns:
            Id of its process.

        Raises:
            RuntimeError: it ended, or did not answer in time; with what it printed.
        """
        self._write_settings(settings or {})
        if not (self._home / "data" / "dbms").exists():
            self._set_password()
        output = self._home / "output"
        with output.open("wb") as sink:
            self._process = subprocess.Popen(
                [
                    *self._java(),
                    *(f"-Xms{self._heap}", f"-Xmx{self._heap}"),
                    *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED),
                    "org.neo4j.server.CommunityEntryPoint",
                    *(f"--home-dir={self._home}", f"--config-dir={self._home}/conf"),
                    "--console-mode",
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=self._home,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if b"Started." in output.read_bytes() and self._answers():
                return self._process.pid
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"Neo4j does not start: {output.read_text(errors='replace')}")

    def wait(self) -> None:
        """Wait until it ends by itself."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End it in order. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, settings: Mapping[str, str] | None = None) -> None:
        """Kill it and start it again with its data, see `start`."""
        self.kill()
        self.start(settings)

    def kill(self) -> None:
        """End it as a power cut would. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def limit_files(self, max_bytes: int) -> None:
        """Bound the size of every file, as if the disk were full, until the server ends."""
        assert self._process is not None
        limits = (max_bytes, resource.RLIM_INFINITY)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, limits)

    def _answers(self) -> bool:
        """Check whether the database takes queries; after a kill it recovers behind "Started."."""
        try:
            is_empty(self.address)
        except (neo4j.exceptions.Neo4jError, neo4j.exceptions.DriverError):
            return False
        return True

    def _java(self) -> list[str]:
        java = find_java()
        if java is None:
            raise RuntimeError("there is no Java")
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"] if self._is_short_lived else []
        if self._is_short_lived and CLASSES.exists():
            quick += ["-Xshare:auto", "-Xlog:disable", f"-XX:SharedArchiveFile={CLASSES}"]
        return [str(java), *quick, "-cp", f"{JARS}/*"]

    def _write_settings(self, settings: Mapping[str, str]) -> None:
        directory = self._home / "conf"
        directory.mkdir(exist_ok=True)
        every = {
            "server.bolt.listen_address": f"127.0.0.1:{self._bolt}",
            "server.http.listen_address": f"127.0.0.1:{self._http}",
            "server.https.enabled": "false",
            "server.memory.pagecache.size": self._page_cache,
            "dbms.usage_report.enabled": "false",
            **settings,
        }
        lines = "".join(f"{name}={value}\n" for name, value in every.items())
        (directory / "neo4j.conf").write_text(lines)

    def _set_password(self) -> None:
        """Set it before the first start; what that makes is kept, as it takes another Java."""
        made = self._home / "data" / "dbms" / "auth.ini"
        kept = JARS.parent / "auth.ini"
        if kept.exists():
            made.parent.mkdir(parents=True)
            shutil.copyfile(kept, made)
            return
        done = subprocess.run(
            [
                *self._java(),
                "org.neo4j.server.startup.Neo4jAdminCommand",
                *("dbms", "set-initial-password", PASSWORD),
            ],
            env=os.environ
            | {"NEO4J_HOME": str(self._home), "NEO4J_CONF": str(self._home / "conf")},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"Neo4j takes no password: {(done.stdout + done.stderr).decode()}")
        copy = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(made, copy)
        copy.replace(kept)


@contextmanager
def running_neo4j(
    *, heap: str = "512m", page_cache: str = "256m", is_short_lived: bool = True
) -> Generator[Neo4jServer]:
    """Run a server of one's own, which may be killed and started again.

    Raises:
        RuntimeError: none can be had, or it does not start.
    """
    missing = what_is_missing()
    if missing is not None:
        raise RuntimeError(missing)
    with tempfile.TemporaryDirectory(prefix="neo4j-", ignore_cleanup_errors=True) as home:
        server = Neo4jServer(
            Path(home), heap=heap, page_cache=page_cache, is_short_lived=is_short_lived
        )
        try:
            server.start()
            yield server
        finally:
            server.kill()  # it takes 10 s to say goodbye, and its data goes


def play() -> None:
    """Run a server, say where it is, and end it with Ctrl-C or SIGTERM."""
    missing = what_is_missing()
    if missing is not None:
        raise SystemExit(missing)
    signal.signal(signal.SIGTERM, _end)
    with running_neo4j(heap="1g", is_short_lived=False) as server:
        said = [
            f"NEO4J_URI={server.address.uri}",
            f"NEO4J_USERNAME={USERNAME}",
            f"NEO4J_PASSWORD={PASSWORD}",
            f"Its browser is at {server.browser}. Ctrl-C ends it, and its data with it.",
        ]
        sys.stdout.write("\n".join([*said, ""]))
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.wait()


def _end(signum: int, frame: FrameType | None) -> None:
    """Leave by the way on which Java is ended, too."""
    del signum, frame
    sys.exit()


if __name__ == "__main__":
    play()
