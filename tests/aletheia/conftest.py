"""An open store; and how properties are tried: no limit of time, as the machine may be busy."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import settings

from aletheia.adapters.documents.embedded import EmbeddedDocuments

settings.register_profile("aletheia", database=None, deadline=None, max_examples=50)
settings.load_profile("aletheia")


@pytest.fixture
async def documents(tmp_path: Path) -> AsyncGenerator[EmbeddedDocuments]:
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    yield documents
    await documents.close()
