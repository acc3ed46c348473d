"""Blocks as the set-up saves them."""

from typing import TypeVar

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from aletheia.errors import Misconfigured
from tasks.session import once

BlockT = TypeVar("BlockT", bound=Block)


@once
async def load_block(block_type: type[BlockT]) -> BlockT:
    """Load the block of a type. Raises `Misconfigured`: none is saved, or one of another type."""
    slug = block_type.get_block_type_slug()
    try:
        async with get_client() as client:
            document = await client.read_block_document_by_name("default", slug)
        return block_type.model_validate(document.data)
    except (ObjectNotFound, ValueError) as missing:
        reason = "is not saved; run `aletheia setup`"
        raise Misconfigured(f"block {slug}/default", reason) from missing
