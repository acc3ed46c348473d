"""The format of what is stored, on every backend of the store."""

import asyncio

import pytest

from aletheia.documents import Change, Documents, Update
from aletheia.errors import Misconfigured
from aletheia.store.format import FORMAT, META, check_format


async def test_a_new_store_is_marked_once_and_read_again(documents: Documents):
    await asyncio.gather(*(check_format(documents) for _ in range(4)))
    assert await documents.find(META, {}) == [{"_id": "format", "version": FORMAT}]
    await check_format(documents)


async def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(documents: Documents):
    newer = Change(set={"version": FORMAT + 1})
    await documents.upsert(META, [Update("format", newer)])
    with pytest.raises(Misconfigured, match=f"has format {FORMAT + 1}, which a newer version"):
        await check_format(documents)
    assert await documents.find(META, {}) == [{"_id": "format", "version": FORMAT + 1}]
