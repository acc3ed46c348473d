"""The floor of all records, on every backend of the document store, by a clock that tests move."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.fakes.clock import MovableClock
from tests.fakes.documents import LosableDocuments

__all__ = ["documents", "mongodb_uri"]


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def losable(tmp_path: Path) -> AsyncGenerator[LosableDocuments]:
    store = LosableDocuments(tmp_path / "losable")
    await store.open()
    yield store
    store.is_lost = store.loses_answers = False
    await store.close()
