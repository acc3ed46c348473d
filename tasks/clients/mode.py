"""Which provider embeds, where `PROCESSING_MODE` does not say it (SPEC §2)."""

from aletheia.errors import Misconfigured
from blocks import OpenAICredentials
from tasks.clients.blocks import load_block
from tasks.session import current_session


async def choose_mode() -> str:
    """Choose the provider for this session; return it and why it was chosen. Idempotent."""

    async def choose() -> str:
        try:
            account = (await load_block(OpenAICredentials)).block
        except Misconfigured:
            account = OpenAICredentials()
        settings, why = account.choose_mode()
        current_session().settings.embedding = settings
        return f"{settings.processing_mode}: {why}"

    return await current_session().clients.build(("mode",), choose)
