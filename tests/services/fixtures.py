"""Fixtures for real servers; a conftest that wants one imports it by name."""

import os
from collections.abc import Generator

import pytest

from tests.services.neo4j_server import (
    Neo4jAddress,
    Neo4jServer,
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


@pytest.fixture(scope="session")
def neo4j_address() -> Generator[Neo4jAddress]:
    """Address of a Neo4j with nothing in it; skips where none can be had.

    Whoever uses it leaves it empty.
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
        return
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    with running_neo4j() as server:
        yield server.address


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
