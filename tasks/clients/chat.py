"""The chat model."""

from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.judge import WRITERS
from aletheia.errors import Misconfigured
from aletheia.llm.asking import RoomyChat
from aletheia.llm.messages import ChatModel
from aletheia.settings import DEFAULT_LLM_MODELS
from blocks import LLMCredentials
from tasks.clients.blocks import load_block
from tasks.clients.metering import get_meter
from tasks.session import current_session, once


@once
async def get_chat() -> ChatModel:
    """Return what writes and judges. Raises `Misconfigured`: it would be the mock in production."""
    session, block = current_session(), await load_block(LLMCredentials)
    if block.choice == "mock":
        if session.settings.embedding.environment == "production":
            reason = f"{block.choice_in_words}, refused where ENVIRONMENT=production"
            raise Misconfigured("LLM_PROVIDER", reason)
        return MockChat(writers=WRITERS)
    return RoomyChat(await session.clients.open(block.get_client(guard=await get_meter())))


async def get_default_model() -> str:
    """Return the model that judges, and that writes for departments that name none."""
    provider = (await load_block(LLMCredentials)).choice
    default = DEFAULT_LLM_MODELS["openrouter" if provider == "mock" else provider]
    return current_session().settings.llm.default_llm_model or default
