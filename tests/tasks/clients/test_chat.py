"""Chat models as the account says."""

from collections.abc import AsyncGenerator

import pytest

from aletheia.errors import Misconfigured
from blocks import LLMCredentials
from tasks.clients.chat import get_chat, get_default_model
from tasks.clients.processors import get_worker_chat
from tasks.session import Session, load_block, open_session

pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture
async def session() -> AsyncGenerator[Session]:
    """A session whose account has no key."""
    async with open_session("run") as session:
        key = (load_block, LLMCredentials)
        await session.clients.build(key, _read_account)
        yield session


async def _read_account() -> LLMCredentials:
    return LLMCredentials()


async def test_without_a_key_the_marked_mock_answers():
    assert (await get_chat()).is_mock
    assert await get_default_model() == "anthropic/claude-sonnet-4.5"


async def test_production_refuses_the_mock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(Misconfigured, match="LLM_PROVIDER"):
        await get_worker_chat()


async def test_workers_ask_the_model_that_is_set_for_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKER_LLM_MODEL", "small")
    assert (await get_worker_chat()).model == "small"
