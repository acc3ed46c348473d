"""A store, a Brain over one, and how properties are tried: without limit, on a busy machine."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import settings

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from tests.fakes.brain import BrainWorld

settings.register_profile("aletheia", database=None, deadline=None, max_examples=50)
settings.load_profile("aletheia")


@pytest.fixture
async def documents(tmp_path: Path) -> AsyncGenerator[EmbeddedDocuments]:
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    yield documents
    await documents.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[BrainWorld]:
    world = BrainWorld(tmp_path)
    await world.open()
    yield world
    await world.close()
