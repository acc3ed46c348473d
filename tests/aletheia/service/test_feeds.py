"""Feeds of projects: one poll for all who follow, and none when nobody does."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import orjson
import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Document
from aletheia.events.log import EVENTS
from aletheia.service import feeds as module
from aletheia.service.feeds import Feeds, Frame
from aletheia.service.refusals import ServiceError
from tests.fakes.documents import LosableDocuments
from tests.fakes.projects import PROJECT, add_events


async def take(frames: AsyncGenerator[Frame], count: int) -> list[int]:
    async with asyncio.timeout(5):
        return [(await anext(frames)).seq for _ in range(count)]


async def test_any_number_follow_from_wherever_they_are(documents: EmbeddedDocuments):
    await add_events(documents, 20)
    feeds = Feeds(documents)

    async def follow(after: int) -> list[int]:
        async with feeds.following(PROJECT, after=after) as frames:
            return await take(frames, 25 - after)

    following = [asyncio.create_task(follow(after)) for after in range(20)]
    await asyncio.sleep(0.3)
    await add_events(documents, 5, first=21)
    assert await asyncio.gather(*following) == [list(range(n + 1, 26)) for n in range(20)]


async def test_more_than_what_is_at_hand_is_read_from_the_log(
    documents: EmbeddedDocuments, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "RECENT", 5)
    await add_events(documents, 30)
    feeds = Feeds(documents)
    async with feeds.following(PROJECT, after=0) as early:
        assert await take(early, 30) == list(range(1, 31))
        async with feeds.following(PROJECT, after=2) as late:
            assert await take(late, 28) == list(range(3, 31))


async def test_nothing_is_polled_when_nobody_follows(documents: EmbeddedDocuments):
    feeds = Feeds(documents)
    before = len(asyncio.all_tasks())
    async with feeds.following(PROJECT, after=0), feeds.following(PROJECT, after=0):
        assert len(asyncio.all_tasks()) == before + 1
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_a_store_that_is_away_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "RETRY_EVERY_S", 0.05)
    documents = LosableDocuments(tmp_path)
    await documents.open()
    await add_events(documents, 3)
    documents.is_lost = True
    async with Feeds(documents).following(PROJECT, after=0) as frames:
        following = asyncio.create_task(take(frames, 5))
        await asyncio.sleep(0.2)
        documents.is_lost = False
        await add_events(documents, 2, first=4)
        assert await following == [1, 2, 3, 4, 5]
    await documents.close()


async def test_one_that_takes_nothing_holds_up_nobody(documents: EmbeddedDocuments):
    feeds = Feeds(documents)
    async with feeds.following(PROJECT, after=0), feeds.following(PROJECT, after=0) as frames:
        await add_events(documents, 50)
        assert await take(frames, 50) == list(range(1, 51))


async def test_nobody_follows_so_many_projects_that_others_cannot(documents: EmbeddedDocuments):
    feeds = Feeds(documents)
    async with contextlib.AsyncExitStack() as held:
        for number in range(module.MAX_PROJECTS_OF_ONE):
            following = feeds.following(f"p{number}", after=0, subject="one")
            await held.enter_async_context(following)
        with pytest.raises(ServiceError) as refused:
            await held.enter_async_context(feeds.following("more", after=0, subject="one"))
        assert refused.value.code == "too_busy"
        await held.enter_async_context(feeds.following("p0", after=0, subject="one"))
        await held.enter_async_context(feeds.following("more", after=0, subject="another"))
    feeds.check_capacity("more", "one")


class CountingDocuments(EmbeddedDocuments):
    """A store that counts what it is asked for."""

    finds = 0

    async def find(self, *args: Any, **options: Any) -> list[Document]:
        """Count, and find."""
        self.finds += 1
        return await super().find(*args, **options)


async def test_a_project_without_news_is_polled_less_often(tmp_path: Path):
    documents = CountingDocuments(tmp_path)
    await documents.open()
    async with Feeds(documents).following(PROJECT, after=0) as frames:
        await asyncio.sleep(2)
        before = documents.finds
        await asyncio.sleep(2)
        assert documents.finds - before <= 10, "five a second at most, after the first one"
        await add_events(documents, 1)
        assert await take(frames, 1) == [1]
    await documents.close()


async def test_a_store_that_is_restored_is_followed_from_where_it_ends(
    documents: EmbeddedDocuments,
):
    await add_events(documents, 10)
    async with Feeds(documents).following(PROJECT, after=0) as frames:
        assert await take(frames, 10) == list(range(1, 11))
        await documents.delete(EVENTS, {"seq": {"$gt": 5}})
        async with asyncio.timeout(5):
            gap = orjson.loads((await anext(frames)).body)
        assert (gap["type"], gap["reason"], gap["seq"]) == ("gap", "ahead", 5)
        assert (gap["from_seq"], gap["to_seq"]) == (6, 10)
        await add_events(documents, 4, first=106)
        assert await take(frames, 4) == [6, 7, 8, 9]


async def test_who_joins_after_a_restore_gets_nothing_of_before(documents: EmbeddedDocuments):
    await add_events(documents, 10)
    feeds = Feeds(documents)
    async with feeds.following(PROJECT, after=0) as frames:
        assert await take(frames, 10) == list(range(1, 11))
        await documents.delete(EVENTS, {"seq": {"$gt": 5}})
        async with asyncio.timeout(5):
            await anext(frames)
        async with feeds.following(PROJECT, after=3) as later:
            assert await take(later, 2) == [4, 5]
            await add_events(documents, 1, first=106)
            assert await take(later, 1) == [6]
