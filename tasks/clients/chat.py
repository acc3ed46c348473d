"""Chat models, as `LLM_PROVIDER` says."""

from aletheia.adapters.mock import judge, reasoning
from aletheia.adapters.mock.chat import MockChat
from aletheia.errors import Misconfigured
from aletheia.llm.asking import WideningChat
from aletheia.llm.messages import ChatModel
from aletheia.settings import DEFAULT_LLM_MODELS
from blocks import LLMCredentials
from tasks.clients.metering import get_meter
from tasks.session import current_session, load_block, once


@once
async def get_chat() -> ChatModel:
    """Return what writes and judges; raises as `get_bounded_chat`."""
    chat = await get_bounded_chat()
    return chat if chat.is_mock else WideningChat(chat)


@once
async def get_bounded_chat() -> ChatModel:
    """Return a chat model that never asks for more tokens than a request allows.

    Raises:
        Misconfigured: it would be the mock in production.
    """
    session, block = current_session(), await load_block(LLMCredentials)
    if block.choice == "mock":
        if session.settings.embedding.environment == "production":
            reason = f"{block.choice_in_words}, refused where ENVIRONMENT=production"
            raise Misconfigured("LLM_PROVIDER", reason)
        return MockChat(writers={**judge.WRITERS, **reasoning.WRITERS})
    return await session.clients.open(block.get_client(guard=await get_meter()))


async def get_default_model() -> str:
    """Return the model that judges, and that writes for departments that name none."""
    provider = (await load_block(LLMCredentials)).choice
    default = DEFAULT_LLM_MODELS["openrouter" if provider == "mock" else provider]
    return current_session().settings.llm.default_llm_model or default
