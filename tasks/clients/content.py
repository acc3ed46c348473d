"""The departments of the application, the items of a project, and what is decided about them."""

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.content.mongodb import MongoContent
from aletheia.adapters.payload_cms import PayloadDepartments
from aletheia.items.calibration_store import CalibrationStore
from aletheia.items.decisions import ProjectDecisions
from blocks import PayloadCredentials, StoreCredentials
from tasks.clients.store import get_store
from tasks.session import current_session, load_block, once


@once
async def get_departments() -> PayloadDepartments:
    """Return the client of the application that has the departments."""
    block = await load_block(PayloadCredentials)
    return await current_session().clients.open(block.get_client())


@once
async def get_content(project_id: str) -> EmbeddedContent | MongoContent:
    """Return the store of a project's items."""
    block = await load_block(StoreCredentials)
    return await current_session().clients.open(block.get_content_client(project_id))


async def close_content(project_id: str) -> None:
    """Close the store of a project's items, for a run that goes through many projects."""
    await current_session().clients.close((get_content, project_id))


@once
async def get_decisions(project_id: str) -> ProjectDecisions:
    """Return the decisions about duplicates of a project."""
    decisions = ProjectDecisions(await get_store(), project_id)
    await decisions.prepare()
    return decisions


async def get_calibrations() -> CalibrationStore:
    """Return the calibrations that are stored."""
    settings = current_session().settings.embedding
    return CalibrationStore(await get_store(), dimensions=settings.embedding_dimensions)
