"""The Brain, and what it has still to be told."""

from aletheia.adapters.brain.service import BrainService
from aletheia.brain.access import BrainAccess
from aletheia.brain.graph import BrainGraph
from aletheia.brain.index import IndexedBrain
from aletheia.brain.items import BrainItems
from aletheia.brain.outbox import Outbox
from aletheia.gather.catalogue import RunCatalogue
from aletheia.items.calibration import GREY_FROM, shipped_calibration
from aletheia.items.vector_cache import VectorCache
from blocks import BrainCredentials
from tasks.clients.blocks import load_block
from tasks.clients.content import get_calibrations, get_content
from tasks.clients.embedding import get_item_model
from tasks.clients.metering import get_breakers
from tasks.clients.store import get_store
from tasks.session import current_session


async def get_brain() -> BrainService | IndexedBrain:
    """Return the Brain that is configured: a service, else what is kept here. Not open yet."""
    clients, loaded = current_session().clients, await load_block(BrainCredentials)
    model = await get_item_model()

    async def build() -> BrainService | None:
        service = loaded.block.get_service(model.vectors)
        return None if service is None else clients.close_later(service)

    service = await clients.build(("brain service", model.vectors, *loaded.key), build)
    return service or await get_indexed_brain()


async def get_indexed_brain(*, draws_edges: bool = True) -> IndexedBrain:
    """Return the Brain that is kept here, never a client of a service. Not open yet."""
    session, loaded = current_session(), await load_block(BrainCredentials)
    model = await get_item_model()

    async def build() -> IndexedBrain:
        calibrations = await get_calibrations()
        known = await calibrations.find(model.name) or shipped_calibration(model.name)
        return IndexedBrain(
            await get_brain_graph(),
            model.embed,
            model.vectors,
            catalogue=RunCatalogue(await get_store()),
            link_from=known.to_cosine(GREY_FROM) if draws_edges else None,
        )

    key = ("indexed brain", draws_edges, model.vectors, session.run_id, *loaded.key)
    return await session.clients.build(key, build)


async def get_brain_graph() -> BrainGraph:
    """Return what keeps the Brain here. Not open yet: it may be out of reach."""
    clients, loaded = current_session().clients, await load_block(BrainCredentials)
    key = ("brain graph", *loaded.key)
    return await clients.build(key, lambda: clients.close_later(loaded.block.get_graph()))


async def get_brain_access() -> BrainAccess:
    """Return the way to the Brain, which may be away."""
    session = current_session()

    async def build() -> BrainAccess:
        return BrainAccess(get_brain, await get_breakers())

    return await session.clients.build(("brain access", session.run_id), build)


async def get_brain_items(project_id: str) -> BrainItems:
    """Return a project's items in the form that the Brain is given."""
    content, model = await get_content(project_id), await get_item_model()
    return BrainItems(content, VectorCache(content, model.vectors), model.embed)


async def get_outbox() -> Outbox:
    """Return what the Brain has still to be told."""

    async def build() -> Outbox:
        outbox = Outbox(await get_store())
        await outbox.prepare()
        return outbox

    return await current_session().clients.build(("outbox",), build)


async def get_brain_key() -> str:
    """Return the key that callers of the served Brain have to send; empty if there is none."""
    return (await load_block(BrainCredentials)).block.api_key
