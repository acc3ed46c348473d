"""The chat model."""

from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.judge import WRITERS
from aletheia.errors import Misconfigured
from aletheia.llm.ports import ChatModel
from aletheia.llm.room import RoomyChat
from aletheia.settings import DEFAULT_LLM_MODELS
from blocks import LLMCredentials
from tasks.clients.blocks import load_block
from tasks.clients.metering import get_meter
from tasks.session import current_session


async def get_chat() -> ChatModel:
    """Return what writes and judges.

    Raises:
        Misconfigured: the key or the address cannot be right, or production would be given the
            mock.
    """
    session, loaded = current_session(), await load_block(LLMCredentials)
    if loaded.block.choice == "mock":
        if session.settings.embedding.environment == "production":
            reason = f"{loaded.block.choice_in_words}, refused where ENVIRONMENT=production"
            raise Misconfigured("LLM_PROVIDER", reason)
        return await session.clients.build(("mock chat",), lambda: MockChat(writers=WRITERS))
    key, meter = (session.run_id, *loaded.key), await get_meter()
    client = await session.clients.open(
        ("chat client", *key), lambda: loaded.block.get_client(guard=meter)
    )
    return await session.clients.build(("chat", *key), lambda: RoomyChat(client))


async def get_default_model() -> str:
    """Return the model that judges, and that writes for departments that name none."""
    provider = (await load_block(LLMCredentials)).block.choice
    default = DEFAULT_LLM_MODELS["openrouter" if provider == "mock" else provider]
    return current_session().settings.llm.default_llm_model or default
