"""The application that has the departments."""

from aletheia.adapters.payload_cms import PayloadDepartments
from blocks import PayloadCredentials
from tasks.clients.blocks import load_block
from tasks.session import current_session


async def get_departments() -> PayloadDepartments:
    """Return the client of the application that has the departments."""
    loaded = await load_block(PayloadCredentials)
    key = ("departments", *loaded.key)
    return await current_session().clients.open(key, loaded.block.get_client)
