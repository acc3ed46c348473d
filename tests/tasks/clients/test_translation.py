"""What translates on this machine belongs to the run's session."""

from tasks.clients.translation import get_translator
from tasks.session import open_session


async def test_one_translator_is_built_a_session():
    async with open_session("run"):
        translator = await get_translator()
        assert translator is await get_translator()
        assert translator.sources_of("xx") == frozenset()
