"""The document store."""

from aletheia.documents import Documents
from blocks import StoreCredentials
from tasks.clients.blocks import load_block
from tasks.session import current_session


async def get_store() -> Documents:
    """Return the document store."""
    loaded = await load_block(StoreCredentials)

    async def build() -> Documents:
        return loaded.block.get_client()

    return await current_session().clients.open(("store", *loaded.key), build)


async def get_volatile_store() -> Documents:
    """Return the store for what is written often and may be lost with the power."""
    loaded = await load_block(StoreCredentials)

    async def build() -> Documents:
        return loaded.block.get_passing_client()

    return await current_session().clients.open(("volatile store", *loaded.key), build)
