"""The chat model."""

from typing import TYPE_CHECKING

from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.judge import WRITERS
from aletheia.errors import Misconfigured
from aletheia.llm.ports import ChatModel
from blocks import LLMCredentials
from tasks.clients.blocks import load_block
from tasks.clients.metering import get_meter
from tasks.session import current_session

if TYPE_CHECKING:
    from aletheia.adapters.openai.chat import OpenAIChat


async def get_chat() -> ChatModel:
    """Return what writes and judges; without a key that is the mock.

    Raises:
        Misconfigured: the key or the address cannot be right, or production would be given the
            mock.
    """
    session, loaded = current_session(), await load_block(LLMCredentials)
    if not loaded.block.has_key:
        if session.settings.embedding.environment == "production":
            reason = "is not set, which means the mock, refused where ENVIRONMENT=production"
            raise Misconfigured("OPENROUTER_API_KEY", reason)
        return await session.clients.build(("mock chat",), _build_mock)

    async def build() -> "OpenAIChat":
        return loaded.block.get_client(guard=await get_meter())

    return await session.clients.open(("chat", session.run_id, *loaded.key), build)


async def _build_mock() -> MockChat:
    return MockChat(writers=WRITERS)
