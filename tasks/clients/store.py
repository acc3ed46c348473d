"""The document store."""

from aletheia.documents import Documents
from aletheia.store.format import check_format
from blocks import StoreCredentials
from tasks.session import current_session, load_block, once


@once
async def get_store() -> Documents:
    """Return the document store.

    Raises:
        Misconfigured: the block is not saved, or a newer version of this program wrote the store.
        Unavailable: the store is out of reach.
    """
    return await _open_checked((await load_block(StoreCredentials)).get_client())


@once
async def get_volatile_store() -> Documents:
    """Return the store for what may be lost with the power; raises as `get_store` does."""
    return await _open_checked((await load_block(StoreCredentials)).get_volatile_client())


async def _open_checked(store: Documents) -> Documents:
    clients, patience = current_session().clients, current_session().patience
    store = await clients.open(store if patience is None else patience.wrap(store))
    await check_format(store)
    return store
