"""The items of a project, and what is decided and calibrated about them."""

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.content.mongodb import MongoContent
from aletheia.items.calibration_store import CalibrationStore
from aletheia.items.decisions import ProjectDecisions
from blocks import StoreCredentials
from tasks.clients.blocks import load_block
from tasks.clients.store import get_store
from tasks.session import Key, current_session


async def get_content(project_id: str) -> EmbeddedContent | MongoContent:
    """Return the store of a project's items."""
    loaded = await load_block(StoreCredentials)
    key = _content_key(project_id, loaded.key)
    return await current_session().clients.open(
        key, lambda: loaded.block.get_content_client(project_id)
    )


async def close_content(project_id: str) -> None:
    """Close the store of a project's items, for a run that goes through many projects."""
    loaded = await load_block(StoreCredentials)
    await current_session().clients.close(_content_key(project_id, loaded.key))


def _content_key(project_id: str, block: Key) -> Key:
    return ("content", project_id, *block)


async def get_decisions(project_id: str) -> ProjectDecisions:
    """Return the decisions about duplicates of a project."""

    async def build() -> ProjectDecisions:
        decisions = ProjectDecisions(await get_store(), project_id)
        await decisions.prepare()
        return decisions

    return await current_session().clients.build(("decisions", project_id), build)


async def get_calibrations() -> CalibrationStore:
    """Return the calibrations that are stored."""
    settings = current_session().settings.embedding
    return CalibrationStore(await get_store(), dimensions=settings.embedding_dimensions)
