import importlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.pages import PagesWorld, fill
from tests.fakes.service import open_service

if TYPE_CHECKING:
    from tests.fakes.visitor import Visitor


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[PagesWorld]:
    async with open_service(tmp_path) as service:
        yield await fill(service)


@pytest.fixture
async def visitor(world: PagesWorld) -> AsyncGenerator["Visitor"]:
    """Somebody who is not signed in; skips where the pages are not installed."""
    pytest.importorskip("nicegui", reason="the extra `ui` is not installed")
    visitors = importlib.import_module("tests.fakes.visitor")
    async with visitors.visiting(world.service.app) as found:
        yield found
