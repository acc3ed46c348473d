"""The fake batch API is as strict as the real one."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.fakes.openai_batches import FakeBatchAPI, serve_fake_batches

GOOD: dict[str, Any] = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": "text-embedding-3-small", "input": "hello"},
}


@pytest.fixture
async def api() -> AsyncGenerator[FakeBatchAPI]:
    async with serve_fake_batches() as fake:
        yield fake


@pytest.fixture
async def client(api: FakeBatchAPI) -> AsyncGenerator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=api.api_key, base_url=api.url, max_retries=0) as client:
        yield client


async def upload(client: AsyncOpenAI, *lines: object, name: str = "in.jsonl") -> str:
    content = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    stored = await client.files.create(file=(name, content.encode()), purpose="batch")
    return stored.id


async def create(client: AsyncOpenAI, file_id: str, **metadata: str) -> str:
    batch = await client.batches.create(
        input_file_id=file_id,
        endpoint="/v1/embeddings",
        completion_window="24h",
        metadata=metadata,
    )
    assert batch.status == "validating"
    return batch.id


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "empty_file"),
        (["{"], "invalid_json_line"),
        (["7"], "invalid_json_line"),
        ([GOOD, GOOD], "duplicate_custom_id"),
        ([{**GOOD, "url": "/v1/chat/completions"}], "mismatched_url"),
        ([{**GOOD, "extra": 1}], "invalid_request"),
        ([{**GOOD, "custom_id": 1}], "invalid_request"),
        (
            [GOOD, {**GOOD, "custom_id": "2", "body": {"model": "another", "input": "x"}}],
            "mismatched_model",
        ),
        ([{**GOOD, "custom_id": str(n)} for n in range(4)], "too_many_tasks"),
    ],
)
async def test_a_file_it_cannot_work_on_fails_the_batch(
    client: AsyncOpenAI, api: FakeBatchAPI, lines: list[object], code: str
):
    api.max_requests = 3
    batch_id = await create(client, await upload(client, *lines))
    batch = await client.batches.retrieve(batch_id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [error.code for error in batch.errors.data] == [code]


async def test_a_batch_goes_through_all_its_states(client: AsyncOpenAI):
    batch_id = await create(client, await upload(client, GOOD))
    states = [(await client.batches.retrieve(batch_id)).status for _ in range(4)]
    assert states == ["in_progress", "finalizing", "completed", "completed"]


async def test_files_are_checked(client: AsyncOpenAI, api: FakeBatchAPI):
    with pytest.raises(openai.BadRequestError, match="jsonl"):
        await upload(client, GOOD, name="in.txt")
    api.max_file_bytes = 10
    with pytest.raises(openai.BadRequestError, match="too large"):
        await upload(client, GOOD)


@pytest.mark.parametrize(
    "metadata",
    [{"k" * 65: "v"}, {"k": "v" * 513}, {f"k{n}": "v" for n in range(17)}],
    ids=["long key", "long value", "too many"],
)
async def test_metadata_has_limits(client: AsyncOpenAI, metadata: dict[str, str]):
    file_id = await upload(client, GOOD)
    with pytest.raises(openai.BadRequestError, match="metadata"):
        await create(client, file_id, **metadata)


async def test_a_batch_needs_a_file_and_a_known_key(client: AsyncOpenAI, api: FakeBatchAPI):
    with pytest.raises(openai.BadRequestError, match="file id"):
        await create(client, "file-0")
    async with AsyncOpenAI(api_key="sk-other", base_url=api.url, max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await upload(stranger, GOOD)


async def test_the_list_comes_in_pages(client: AsyncOpenAI, api: FakeBatchAPI):
    api.page = 2
    ids = [await create(client, await upload(client, GOOD)) for _ in range(5)]
    listed = [batch.id async for batch in client.batches.list(limit=100)]
    assert listed == ids[::-1]
