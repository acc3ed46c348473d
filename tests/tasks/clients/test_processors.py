"""Everything that can be computed is built with the tools of the session."""

from pathlib import Path

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.ports import Embedder
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.tools import TOOLS, WorkerChat
from tasks.clients.embedding import get_embedder
from tasks.clients.processors import BUILDERS, get_processors, get_result_cache, get_worker_chat
from tasks.session import open_session


async def make_embedder() -> Embedder:
    return MockEmbedder(default_model="m")


async def make_chat() -> WorkerChat:
    return WorkerChat(MockChat(), "m")


async def test_every_built_in_type_is_served(tmp_path: Path):
    async def make_cache() -> ResultCache:
        return ResultCache(EmbeddedDocuments(tmp_path), scope="", ttl_s=0)

    async with open_session("run") as session:
        await session.clients.build((get_embedder,), make_embedder)
        await session.clients.build((get_worker_chat,), make_chat)
        await session.clients.build((get_result_cache,), make_cache)
        processors = await get_processors()
    assert set(BUILT_IN) <= set(processors.types)
    assert processors.admit("text_embedding", {"text": "a", "model": "m"}) == "m"


def test_what_is_built_are_tools():
    assert set(BUILDERS) <= set(TOOLS)
