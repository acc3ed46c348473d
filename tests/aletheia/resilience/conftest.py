"""State machines on every backend of the document store, by a clock that tests move."""

from datetime import UTC, datetime

import pytest

from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.fakes.clock import MovableClock as Clock

__all__ = ["Clock", "documents", "mongodb_uri"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()
