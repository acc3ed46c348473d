"""Blocks as the set-up saves them."""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from aletheia.errors import Misconfigured
from tasks.session import Key, current_session

DEFAULT_NAME: Final = "default"
"""Name of the block documents that the set-up saves."""

BlockT = TypeVar("BlockT", bound=Block)


@dataclass(frozen=True, slots=True)
class LoadedBlock(Generic[BlockT]):
    """A block, and what tells it from an earlier version of itself."""

    block: BlockT
    key: Key


async def load_block(block_type: type[BlockT]) -> LoadedBlock[BlockT]:
    """Load the block of a type, once a session.

    Raises:
        Misconfigured: it is not saved, or what is saved is not of this type.
    """
    slug = block_type.get_block_type_slug()

    async def load() -> LoadedBlock[BlockT]:
        try:
            async with get_client() as client:
                document = await client.read_block_document_by_name(DEFAULT_NAME, slug)
            block = block_type.model_validate(document.data)
        except (ObjectNotFound, ValueError) as missing:
            raise Misconfigured(
                f"block {slug}/{DEFAULT_NAME}", "is not saved; run `aletheia setup`"
            ) from missing
        return LoadedBlock(block, (slug, str(document.id), document.updated))

    return await current_session().clients.build(("block", slug), load)
