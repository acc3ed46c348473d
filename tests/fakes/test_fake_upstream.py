from collections.abc import AsyncGenerator

import pytest

from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.sign_in import NoSignIn
from aletheia.errors import Conflict
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream

PROCESSING = b'{"state":"processing"}'
FAILED = b'{"state":"failed","error":{"code":"empty_text","message":"x","retryable":false}}'


@pytest.fixture
async def upstream() -> AsyncGenerator[FakeUpstream]:
    async with serve_fake_upstream() as fake:
        fake.add("t1", text="hello")
        yield fake


@pytest.fixture
async def client(upstream: FakeUpstream) -> AsyncGenerator[HttpUpstream]:
    client = HttpUpstream(upstream.url, sign_in=NoSignIn(), max_retries=0)
    await client.open()
    yield client
    await client.close()


async def test_a_task_listed_again_takes_a_repetition_of_its_report(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    before = await client.pending(10)
    await client.report("t1", FAILED)
    assert await client.pending(10) == []
    upstream.relist("t1")
    assert await client.pending(10) == before
    with pytest.raises(Conflict):
        await client.report("t1", PROCESSING)
    await client.report("t1", FAILED)
    assert await client.pending(10) == []
    assert upstream.states == {"t1": ["failed"]}


async def test_a_task_whose_report_was_forgotten_starts_over(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    before = await client.pending(10)
    await client.report("t1", FAILED)
    upstream.relist("t1", forgets=True)
    assert await client.pending(10) == before
    await client.report("t1", PROCESSING)
    await client.report("t1", FAILED)
    assert upstream.states == {"t1": ["failed", "processing", "failed"]}


async def test_a_task_listed_again_with_another_text_is_new_work(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    await client.report("t1", FAILED)
    upstream.relist("t1", text="another")
    (entry,) = await client.pending(10)
    assert entry == {
        "id": "t1",
        "type": "TEXT_EMBEDDING",
        "state": "pending",
        "data": {"text": "another"},
    }
    await client.report("t1", PROCESSING)
    assert upstream.states == {"t1": ["failed", "processing"]}


async def test_a_failed_task_can_be_replayed_only_where_that_is_allowed(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    await client.report("t1", FAILED)
    with pytest.raises(Conflict):
        await client.report("t1", PROCESSING)
    upstream.reopen_failed()
    await client.report("t1", PROCESSING)
    assert upstream.states == {"t1": ["failed", "processing"]}


async def test_a_fault_waits_for_the_endpoint_it_is_meant_for(
    upstream: FakeUpstream, client: HttpUpstream
) -> None:
    upstream.fail_next(409, on="report")
    upstream.refuse_reports("t1", 409)
    assert len(await client.pending(10)) == 1
    for _ in range(2):
        with pytest.raises(Conflict):
            await client.report("t1", PROCESSING)
    upstream.refuse_reports("t1", None)
    await client.report("t1", PROCESSING)
