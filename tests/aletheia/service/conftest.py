from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.fakes.service import Client, FakeService, calling, open_service


@pytest.fixture
async def service(tmp_path: Path) -> AsyncGenerator[FakeService]:
    async with open_service(tmp_path) as found:
        yield found


@pytest.fixture
async def client(service: FakeService) -> AsyncGenerator[Client]:
    async with calling(service) as found:
        yield found
