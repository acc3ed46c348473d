"""The Brain, and what it has not received yet."""

import contextlib
from collections.abc import AsyncGenerator

from aletheia.adapters.brain.service import BrainService
from aletheia.brain.access import BrainAccess
from aletheia.brain.index import IndexedBrain
from aletheia.brain.items import BrainItems
from aletheia.brain.outbox import Outbox
from aletheia.gather.knowledge import RunCatalogue
from aletheia.items.calibration import shipped_calibration
from aletheia.items.vector_cache import VectorCache
from aletheia.quality.evaluation_store import EvaluationStore
from blocks import BrainCredentials
from tasks.clients.content import get_calibrations, get_content
from tasks.clients.embedding import get_item_model
from tasks.clients.metering import get_breakers
from tasks.clients.store import get_store
from tasks.session import current_session, load_block, once


@once
async def get_brain() -> BrainService | IndexedBrain:
    """Return the Brain that is configured: a service, else what is kept here. Not open yet."""
    block, model = await load_block(BrainCredentials), await get_item_model()
    service = block.get_service(model.vectors)
    if service is None:
        return await get_indexed_brain()
    return current_session().clients.close_later(service)


@once
async def get_indexed_brain(*, draws_edges: bool = True) -> IndexedBrain:
    """Return the Brain that is kept here, never a client of a service. Not open yet."""
    block, model = await load_block(BrainCredentials), await get_item_model()
    known = await (await get_calibrations()).find(model.name) or shipped_calibration(model.name)
    return IndexedBrain(
        current_session().clients.close_later(block.get_graph()),
        model.embed,
        model.vectors,
        catalogue=RunCatalogue(await get_store()),
        link_from=known.min_cosine if draws_edges else None,
    )


@once
async def get_brain_access() -> BrainAccess:
    """Return the way to the Brain, which may be away."""
    return BrainAccess(get_brain, await get_breakers())


async def get_brain_items(project_id: str) -> BrainItems:
    """Return a project's items in the form that the Brain is given."""
    content, model = await get_content(project_id), await get_item_model()
    return BrainItems(content, VectorCache(content, model.vectors), model.embed)


@once
async def get_outbox() -> Outbox:
    """Return what the Brain has not received yet."""
    outbox = Outbox(await get_store())
    await outbox.prepare()
    return outbox


@contextlib.asynccontextmanager
async def feeding_brain(project_id: str) -> AsyncGenerator[None]:
    """Deliver what is saved of a project beside the block; what is left at the end waits."""
    access, items = await get_brain_access(), await get_brain_items(project_id)
    async with (await get_outbox()).feeding(project_id, access, items):
        yield


@once
async def get_evaluations(project_id: str) -> EvaluationStore:
    """Return the requests for evaluations of a project, and the results, which the Brain gets."""
    announce = (await get_outbox()).intents.announce_evaluation
    store = EvaluationStore(await get_store(), project_id, announce=announce)
    await store.open()
    return store
