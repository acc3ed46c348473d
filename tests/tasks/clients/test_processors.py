"""Everything that can be computed is built with the tools of the session."""

from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.ports import Embedder
from aletheia.analysis.tools import TOOLS
from tasks.clients.embedding import get_embedder
from tasks.clients.processors import BUILDERS, get_processors
from tasks.session import open_session


async def make_embedder() -> Embedder:
    return MockEmbedder(default_model="m")


async def test_every_built_in_type_is_served():
    async with open_session("run") as session:
        await session.clients.build((get_embedder,), make_embedder)
        processors = await get_processors()
    assert set(BUILT_IN) <= set(processors.types)
    assert processors.admit("text_embedding", {"text": "a", "model": "m"}) == "m"


def test_what_is_built_are_tools():
    assert set(BUILDERS) <= set(TOOLS)
