"""A system whose one source is set by the test, and what reasons about it, on both stores."""

import pytest

from aletheia.documents import Documents
from aletheia.reasoning.engine import Reasoner
from tests.aletheia.adapters.documents.conftest import documents, mongodb_uri
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import Sources, make_reasoner

__all__ = ["documents", "mongodb_uri"]


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
async def reasoner(documents: Documents, sources: Sources, clock: MovableClock) -> Reasoner:
    reasoner = make_reasoner(documents, sources, clock)
    await reasoner.prepare()
    return reasoner
