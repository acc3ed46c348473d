"""The document store."""

from collections.abc import Callable

from aletheia.documents import Documents
from aletheia.store.format import check_format
from blocks import StoreCredentials
from tasks.clients.blocks import load_block
from tasks.session import Key, current_session


async def get_store() -> Documents:
    """Return the document store.

    Raises:
        Misconfigured: the block is not saved, or a newer version of this program wrote the store.
        Unavailable: the store is out of reach.
    """
    loaded = await load_block(StoreCredentials)
    return await _open_checked(("store", *loaded.key), loaded.block.get_client)


async def get_volatile_store() -> Documents:
    """Return the store for what may be lost with the power; raises as `get_store` does."""
    loaded = await load_block(StoreCredentials)
    return await _open_checked(("volatile store", *loaded.key), loaded.block.get_passing_client)


async def _open_checked(key: Key, build: Callable[[], Documents]) -> Documents:
    clients, patience = current_session().clients, current_session().patience

    async def build_and_open() -> Documents:
        store = build() if patience is None else patience.wrap(build())
        clients.close_later(store)
        await store.open()
        await check_format(store)
        return store

    return await clients.build(key, build_and_open)
