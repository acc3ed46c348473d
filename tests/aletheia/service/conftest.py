"""The service over a store of its own: for what reads or writes records, over both kinds."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aletheia.documents import Documents
from tests.aletheia.adapters.documents.conftest import BACKENDS, mongodb_uri, opened
from tests.fakes.service import Client, FakeService, calling, make_service

__all__ = ["mongodb_uri"]

ON_BOTH_STORES = {
    *("actions", "audit", "capacity", "deliveries", "metric_sources", "metrics", "operations"),
    *("paging", "project_list", "project_state", "projects", "purging", "reasoning_api"),
    *("refusal_counts", "repetitions", "tasks", "tickets", "upkeep"),
}
"""Modules whose tests are about records; the others are about callers, sockets and bytes."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of modules about records on both stores."""
    if "documents" in metafunc.fixturenames:
        name = metafunc.definition.path.stem.removeprefix("test_")
        backends = BACKENDS if name in ON_BOTH_STORES else BACKENDS[:1]
        metafunc.parametrize("documents", backends, indirect=True)


@pytest.fixture
async def documents(request: pytest.FixtureRequest) -> AsyncGenerator[Documents]:
    async with opened(request.param, request) as store:
        yield store


@pytest.fixture
async def service(tmp_path: Path, documents: Documents) -> FakeService:
    return make_service(tmp_path, documents)


@pytest.fixture
async def client(service: FakeService) -> AsyncGenerator[Client]:
    async with calling(service) as found:
        yield found
