"""State machines on every backend of the document store, by a clock that tests move."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri

__all__ = ["documents", "mongodb_uri"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved, exact to the microsecond."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> float:
        return (self.now - EPOCH) / timedelta(microseconds=1) / 1_000_000

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 18, 10, 0, 30, 250_001, tzinfo=UTC))
