"""Fixtures for real servers; a conftest that wants one imports it by name."""

import os
from collections.abc import Generator

import pytest

from tests.services.nx import find_nx, running_nx

MONGODB_URI = os.environ.get("MONGODB_URI", "")
"""Address of a MongoDB to test against instead of a server started here."""


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
