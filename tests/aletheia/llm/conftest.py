"""Usage and budgets on every backend of the document store, by a clock that tests move."""

from datetime import UTC, datetime

import pytest

from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.aletheia.resilience.conftest import Clock

__all__ = ["documents", "mongodb_uri"]


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 18, 10, 0, 30, tzinfo=UTC))
