"""Fixtures for real servers; a conftest that wants one imports it by name."""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

import pytest

from tests.services.neo4j_server import (
    Neo4jAddress,
    Neo4jServer,
    empty,
    is_empty,
    running_neo4j,
    what_is_missing,
)
from tests.services.nx import find_nx, running_nx

MONGODB_URI = os.environ.get("MONGODB_URI", "")
"""Address of a MongoDB to test against instead of a server started here."""

NEO4J_URI = os.environ.get("NEO4J_URI", "")
"""Address of a Neo4j to test against instead of a server started here; it has to be empty."""


@pytest.fixture(scope="session")
def mongodb_uri() -> Generator[str]:
    """URI of a server that speaks MongoDB's wire protocol; skips where none can be had."""
    if MONGODB_URI:
        yield MONGODB_URI
        return
    program = find_nx()
    if program is None:
        pytest.skip("no MongoDB wire server: run `make services`")
    with running_nx(program) as uri:
        yield uri


@pytest.fixture
def neo4j_in_turn(shared_neo4j: Neo4jAddress, shared_directory: Path) -> Generator[Neo4jAddress]:
    """Address of a Neo4j without items, for one test at a time of all processes.

    It may have the model of `tests.fakes.brain`, with its index. Whoever uses it leaves it so.
    """
    with locked(shared_directory / "neo4j-test"):
        yield shared_neo4j


@pytest.fixture
def neo4j_address(neo4j_in_turn: Neo4jAddress) -> Neo4jAddress:
    """Address of a Neo4j with nothing in it; see `neo4j_in_turn`."""
    if not is_empty(neo4j_in_turn):
        empty(neo4j_in_turn)
    return neo4j_in_turn


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of one test run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def locked(path: Path) -> Generator[IO[str]]:
    """Hold a file, opened for reading and appending, against all other processes."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


@pytest.fixture(scope="session")
def shared_neo4j(shared_directory: Path) -> Generator[Neo4jAddress]:
    """Address of the one Neo4j of all test processes; skips where none can be had.

    The first that wants it starts it, and the last that has used it ends it.
    """
    if NEO4J_URI:
        given = Neo4jAddress(
            NEO4J_URI,
            os.environ.get("NEO4J_USERNAME", "neo4j"),
            os.environ.get("NEO4J_PASSWORD", ""),
        )
        if not is_empty(given):
            pytest.skip("the Neo4j at NEO4J_URI holds data: tests would delete it")
        yield given
        empty(given)
        return
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    with shared_server(shared_directory / "neo4j.json", shared_directory / "neo4j") as address:
        yield address


@contextmanager
def shared_server(note: Path, home: Path) -> Generator[Neo4jAddress]:
    """Share a server that other processes may have started and may use for longer.

    Args:
        note: what is written down of the server for the others: address, process, and its users.
        home: of the server; empty, or not there, before the first start.
    """
    with locked(note) as file:
        known: dict[str, Any] = json.loads(file.read() or "{}")
        if not known:
            home.mkdir(exist_ok=True)
            server = Neo4jServer(home)
            _started.append(server)
            known = {"address": asdict(server.address), "process": server.start(), "users": 0}
        _write(file, known | {"users": known["users"] + 1})
    try:
        yield Neo4jAddress(**known["address"])
    finally:
        with locked(note) as file:
            known = json.loads(file.read())
            known["users"] -= 1
            if not known["users"]:
                with suppress(ProcessLookupError):
                    os.kill(known["process"], signal.SIGKILL)  # it takes 10 s to say goodbye
                shutil.rmtree(home, ignore_errors=True)
            _write(file, known if known["users"] else {})


_started: Final[list[Neo4jServer]] = []
"""Servers that may outlive their first user, kept so that Python warns of no child."""


def _write(file: IO[str], known: Mapping[str, Any]) -> None:
    file.truncate(0)
    json.dump(known, file)


@pytest.fixture(scope="session")
def own_neo4j() -> Generator[Neo4jServer]:
    """A Neo4j of our own that may be killed and started again; skips where none can be had.

    Whoever uses it leaves it running, with its usual settings.
    """
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    with running_neo4j() as server:
        yield server
