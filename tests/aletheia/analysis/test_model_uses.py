import asyncio

import pytest

from aletheia.analysis.model_uses import USES, ModelUses
from aletheia.documents import Documents
from aletheia.store.clock import Clock


class MovableTime:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_model_is_used_until_the_last_call_of_a_run_has_ended(documents: Documents):
    ours, theirs = ModelUses(documents, owner="ours"), ModelUses(documents, owner="theirs")
    async with ours.using("ollama", "a"):
        async with ours.using("ollama", "a"):
            assert await theirs.others("ollama", "a") == ["ours"]
        assert await theirs.others("ollama", "a") == ["ours"]
        assert await ours.others("ollama", "a") == []
        assert await theirs.others("ollama", "b") == []
    assert await theirs.others("ollama", "a") == []
    assert await documents.find(USES, {}) == []


async def test_calls_that_begin_at_once_are_one_use(documents: Documents):
    uses, seen = ModelUses(documents, owner="ours"), asyncio.Barrier(5)

    async def call() -> None:
        async with uses.using("ollama", "a"):
            await seen.wait()
            assert len(await documents.find(USES, {})) == 1
            await seen.wait()

    await asyncio.gather(*(call() for _ in range(5)))
    assert await documents.find(USES, {}) == []


async def test_a_use_outlasts_its_lease_while_its_call_goes_on(documents: Documents):
    ours = ModelUses(documents, owner="ours", lease_s=0.3)
    theirs = ModelUses(documents, owner="theirs", lease_s=0.3)
    async with ours.using("ollama", "a"):
        await asyncio.sleep(0.6)
        assert await theirs.others("ollama", "a") == ["ours"]


async def test_a_use_of_a_process_that_was_killed_ends_with_its_lease(documents: Documents):
    time_ = MovableTime()
    killed = ModelUses(documents, owner="killed", clock=Clock(time_))
    theirs = ModelUses(documents, owner="theirs", clock=Clock(time_))
    endless = killed.using("ollama", "a")
    await endless.__aenter__()
    assert await theirs.others("ollama", "a") == ["killed"]
    time_.now_s += 70
    assert await theirs.others("ollama", "a") == []
    async with theirs.using("ollama", "b"):
        assert [row["by"] for row in await documents.find(USES, {})] == ["theirs"]
    await endless.__aexit__(None, None, None)


async def test_a_cancelled_call_ends_its_use(documents: Documents):
    uses, has_begun = ModelUses(documents, owner="ours"), asyncio.Event()

    async def call() -> None:
        async with uses.using("ollama", "a"):
            has_begun.set()
            await asyncio.sleep(60)

    calling = asyncio.create_task(call())
    await has_begun.wait()
    assert await documents.find(USES, {})
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await documents.find(USES, {}) == []
