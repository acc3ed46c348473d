"""The client of the Batch API against a strict fake of it."""

import asyncio
import io
import json
import tempfile
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.openai import batches as batches_module
from aletheia.adapters.openai.batches import METADATA_KEY, OpenAIBatches
from aletheia.adapters.openai.tokens import Encoding, TokenTables
from aletheia.adapters.openai.wire import Api
from aletheia.analysis.processor import Finished
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    ComputeFailed,
    InvalidTask,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from aletheia.intake.bulk.ports import ProviderBatch
from tests.fakes.faults import Misbehaviour
from tests.fakes.openai import make_encoding
from tests.fakes.openai_batches import FakeBatchAPI, serve_fake_batches

SMALL = "text-embedding-3-small"

Connect: TypeAlias = Callable[..., Awaitable[OpenAIBatches]]


BOUNDS = ("max_output_bytes", "max_text_tokens", "transfer_timeout_s")


def no_tables(name: str) -> Encoding:
    raise OSError(f"{name} cannot be had")


@pytest.fixture
async def api() -> AsyncGenerator[FakeBatchAPI]:
    async with serve_fake_batches() as fake:
        fake.models = {SMALL: 16}
        yield fake


@pytest.fixture
async def connect(api: FakeBatchAPI) -> AsyncGenerator[Connect]:
    async with AsyncExitStack() as closing:

        async def make(**options: Any) -> OpenAIBatches:
            key, timeout_s = options.pop("api_key", api.api_key), options.pop("timeout_s", 5)
            tables = options.pop("tables", TokenTables(no_tables))
            bounds = {name: options.pop(name) for name in BOUNDS if name in options}
            server = Api("openai", key, api.url, timeout_s=timeout_s)
            batches = OpenAIBatches(server, EmbedderPlan(SMALL, **options), tables)
            for name, value in bounds.items():
                setattr(batches, name, value)
            await batches.open()
            closing.push_async_callback(batches.close)
            return batches

        yield make


@pytest.fixture
async def client(connect: Connect) -> OpenAIBatches:
    return await connect()


async def submit(client: OpenAIBatches, *texts: str, key: str = "k1") -> ProviderBatch:
    """Submit texts; the lines are numbered from 0."""
    bodies = {n: client.body_of(SMALL, {"text": text}) for n, text in enumerate(texts)}
    return await client.create(key, await client.upload(key, bodies))


async def finish(client: OpenAIBatches, batch: ProviderBatch) -> ProviderBatch:
    """Look until a batch is no longer running."""
    while batch.phase == "running":
        batch = await client.poll(batch.id)
    return batch


async def read(client: OpenAIBatches, batch: ProviderBatch) -> dict[int, Finished]:
    return {answer.index: answer async for page in client.answers(batch, SMALL) for answer in page}


async def test_a_batch_goes_there_and_back(client: OpenAIBatches, api: FakeBatchAPI):
    batch = await submit(client, "one", "two words")
    assert (batch.phase, batch.status) == ("running", "validating")
    ended = await finish(client, batch)
    assert (ended.phase, ended.status, ended.error_file) == ("ended", "completed", None)
    answers = await read(client, ended)
    assert sorted(answers) == [0, 1]
    result = answers[1].result
    assert result is not None
    assert np.array_equal(result["embedding"], api.vector(SMALL, "two words"))
    assert answers[1].usage == {"tokens": 2}
    assert answers[1].record == {"model": SMALL, "provider": "openai", "dimensions": 16}


async def test_what_is_sent_is_one_line_a_text(connect: Connect, api: FakeBatchAPI):
    client = await connect(dimensions=8)
    await submit(client, "a\nb", "\u2028é")
    (batch,) = api.batches.values()
    assert batch.metadata == {METADATA_KEY: "k1"}
    assert api.lines_of(batch) == [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {
                "model": SMALL,
                "input": text,
                "dimensions": 8,
                "encoding_format": "base64",
            },
        }
        for number, text in enumerate(["a\nb", "\u2028é"])
    ]


async def test_a_line_is_no_longer_than_was_said(client: OpenAIBatches, api: FakeBatchAPI):
    body = client.body_of(SMALL, {"text": "x" * 100})
    await client.upload("k1", {49_999: body})
    (file,) = api.files.values()
    assert len(file.content) <= client.size_of(body) <= len(file.content) + 16


async def test_answers_are_handed_on_in_sets(client: OpenAIBatches):
    texts = [f"text {number}" for number in range(2 * batches_module.LINES_AT_ONCE + 1)]
    ended = await finish(client, await submit(client, *texts))
    sizes = [len(page) async for page in client.answers(ended, SMALL)]
    assert sizes == [batches_module.LINES_AT_ONCE, batches_module.LINES_AT_ONCE, 1]


@pytest.mark.parametrize(
    ("tables", "text", "weight"),
    [
        pytest.param(None, "hello world", 11, id="bytes without tables"),
        pytest.param("hello world", "hello world", 2, id="tokens with tables"),
        pytest.param(None, "x" * 20, 20, id="exactly at the limit"),
        pytest.param(None, "x" * 21, None, id="above it, for all that is known"),
        pytest.param("hello", "hello " * 5, 6, id="long, and few tokens"),
        pytest.param("hello", "hello " * 27, None, id="too long to be counted"),
    ],
)
async def test_a_text_weighs_what_it_may_cost(
    connect: Connect, tables: str | None, text: str, weight: int | None
):
    encoding = None if tables is None else make_encoding(*tables.split())

    def load(name: str) -> Encoding:
        return encoding or no_tables(name)

    found = TokenTables(load)
    client = await connect(tables=found, max_text_tokens=20)
    await found.find(SMALL)
    assert client.weigh(SMALL, {"text": text}) == weight


async def test_texts_are_weighed_with_tables_once_the_api_was_asked(connect: Connect):
    encoding = make_encoding("hello")

    def load(_: str) -> Encoding:
        time.sleep(0.1)
        return encoding

    client = await connect(tables=TokenTables(load))
    await client.check()
    assert client.weigh(SMALL, {"text": "hello hello"}) == 2


async def test_batches_are_found_by_our_id_among_many(client: OpenAIBatches, api: FakeBatchAPI):
    api.page = 2
    for key in ("k1", "k2", "k3", "k2", "k4"):
        await submit(client, "x", key=key)
    created = [batch for batch in api.batches.values() if batch.metadata[METADATA_KEY] == "k2"]
    created[0].created_at -= 10
    assert [batch.id for batch in await client.find("k2")] == [batch.id for batch in created]
    assert await client.find("k9") == []


async def test_an_expired_batch_says_of_each_text_whether_it_was_done(
    client: OpenAIBatches, api: FakeBatchAPI
):
    api.ends, api.answers = "expired", 1
    ended = await finish(client, await submit(client, "one", "two"))
    assert (ended.phase, ended.status) == ("ended", "expired")
    answers = await read(client, ended)
    assert answers[0].error is None
    assert isinstance(answers[1].error, Unavailable)
    assert "batch_expired" in str(answers[1].error)


async def test_a_batch_that_is_not_begun_says_why(client: OpenAIBatches):
    batch = await client.create("k1", await client.upload("k1", {}))
    failed = await finish(client, batch)
    assert (failed.phase, "empty_file" in failed.reason) == ("failed", True)


async def test_a_batch_can_be_cancelled_and_is_not_cancelled_twice(
    client: OpenAIBatches, api: FakeBatchAPI
):
    batch = await submit(client, "one")
    await client.cancel(batch.id)
    assert api.batches[batch.id].status == "cancelling"
    await finish(client, batch)
    await client.cancel(batch.id)
    assert api.batches[batch.id].status == "cancelled"


@pytest.mark.parametrize("spoil", ["nan", "infinite", "zeros", "short"])
async def test_a_bad_vector_is_that_texts_alone(
    client: OpenAIBatches, api: FakeBatchAPI, spoil: Any
):
    api.spoils = {"two": spoil}
    ended = await finish(client, await submit(client, "one", "two", "three"))
    answers = await read(client, ended)
    assert isinstance(answers[1].error, ComputeFailed)
    assert answers[1].usage == {"tokens": 1}
    assert [answers[n].error for n in (0, 2)] == [None, None]


@pytest.mark.parametrize("embedding", ["not base64!", "AAAA", None, [1, "x"], [[1.0]]], ids=str)
async def test_what_is_no_vector_is_no_answer(
    client: OpenAIBatches, api: FakeBatchAPI, embedding: Any
):
    body = {"data": [{"index": 0, "embedding": embedding}], "usage": {"prompt_tokens": 1}}
    api.line_faults["two"] = (200, body)
    ended = await finish(client, await submit(client, "one", "two"))
    answers = await read(client, ended)
    assert isinstance(answers[1].error, BadAnswer)
    assert answers[0].error is None


async def test_servers_that_know_no_base64_are_read_as_well(
    client: OpenAIBatches, api: FakeBatchAPI
):
    api.knows_base64, api.counts_usage = False, False
    ended = await finish(client, await submit(client, "one"))
    (answer,) = (await read(client, ended)).values()
    assert answer.result is not None
    assert np.array_equal(answer.result["embedding"], api.vector(SMALL, "one"))
    assert answer.usage is None


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"message": "x", "code": "context_length_exceeded"}, (InvalidTask, "input_too_long")),
        (404, {"message": "x", "code": "model_not_found"}, (InvalidTask, "model_not_found")),
        (400, {"message": "'$.input' is invalid."}, (InvalidTask, "invalid_text")),
        (400, {"message": "Invalid value for 'dimensions'."}, (Refused, "refused")),
        (401, {"message": "Incorrect API key"}, (Unauthorized, "unauthorized")),
        (429, {"message": "slow down"}, (Unavailable, "unavailable")),
        (429, {"message": "x", "code": "insufficient_quota"}, (Unavailable, "quota_exhausted")),
        (500, {"message": "oh"}, (Unavailable, "unavailable")),
    ],
)
async def test_a_lines_status_means_what_it_means_elsewhere(
    client: OpenAIBatches,
    api: FakeBatchAPI,
    status: int,
    error: dict[str, Any],
    expected: tuple[type[AletheiaError], str],
) -> None:
    api.line_faults["two"] = (status, {"error": error})
    ended = await finish(client, await submit(client, "one", "two"))
    answer = (await read(client, ended))[1]
    assert isinstance(answer.error, expected[0])
    assert answer.error.code == expected[1]


async def test_a_file_is_read_as_far_as_is_allowed(connect: Connect, api: FakeBatchAPI):
    client = await connect()
    ended = await finish(client, await submit(client, "one", "two", "three"))
    lines = api.files[ended.output_file or ""].content.splitlines(keepends=True)
    bounded = await connect(max_output_bytes=len(lines[0]) + len(lines[1]) // 2)
    assert set(await read(bounded, ended)) == {0}


async def test_an_answer_without_an_end_is_no_answer(connect: Connect, api: FakeBatchAPI):
    client = await connect(max_output_bytes=100_000)
    ended = await finish(client, await submit(client, "one"))
    api.misbehave_next("never_ends", on="content")
    assert await read(client, ended) == {}


async def test_a_status_nobody_knows_is_taken_for_running(client: OpenAIBatches, api: FakeBatchAPI):
    batch = await submit(client, "one")
    api.batches[batch.id].status = "asleep"
    found = await client.poll(batch.id)
    assert (found.phase, found.status) == ("running", "asleep")
    assert await client.find("k1") == [found]


@pytest.mark.parametrize("excess", [1, batches_module.MAX_LINE_BYTES])
async def test_a_line_that_is_too_long_is_passed_over(
    client: OpenAIBatches, api: FakeBatchAPI, excess: int
):
    api.spoils_lines = {"one": b"x" * (batches_module.MAX_LINE_BYTES + excess)}
    ended = await finish(client, await submit(client, "one", "two"))
    assert set(await read(client, ended)) == {1}


async def test_the_files_of_a_batch_are_deleted(client: OpenAIBatches, api: FakeBatchAPI):
    api.ends, api.answers = "expired", 1
    ended = await finish(client, await submit(client, "one", "two"))
    assert len(api.files) == 3
    api.fail_next(500, on="files")
    await client.forget(ended)
    assert len(api.files) == 1
    await client.forget(ended)
    assert api.files == {}


async def test_files_that_are_gone_are_not_found(client: OpenAIBatches, api: FakeBatchAPI):
    ended = await finish(client, await submit(client, "one"))
    api.files.clear()
    with pytest.raises(NotFound):
        await read(client, ended)
    with pytest.raises(NotFound):
        await client.poll("batch_0")


@pytest.mark.parametrize("misbehaviour", ["hangs_up", "is_not_http", "cuts_its_body"])
@pytest.mark.parametrize("endpoint", ["files", "create", "batches", "content"])
async def test_a_connection_that_breaks_is_an_outage(
    client: OpenAIBatches, api: FakeBatchAPI, misbehaviour: Misbehaviour, endpoint: str
):
    ended = await finish(client, await submit(client, "one"))
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "files": lambda: client.upload("k", {}),
        "create": lambda: client.create("k", ended.input_file),
        "batches": lambda: client.poll(ended.id),
        "content": lambda: read(client, ended),
    }
    api.misbehave_next(misbehaviour, on=endpoint)
    with pytest.raises(Unavailable):
        await calls[endpoint]()


async def test_a_slow_answer_is_given_up(connect: Connect, api: FakeBatchAPI):
    client = await connect(timeout_s=0.3, transfer_timeout_s=0.3)
    ended = await finish(client, await submit(client, "one"))
    api.misbehave_next("stalls", on="batches")
    with pytest.raises(Unavailable, match=r"within 0\.3 s"):
        await client.poll(ended.id)
    api.misbehave_next("drips", on="content")
    with pytest.raises(Unavailable, match=r"within 0\.3 s"):
        await read(client, ended)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b"{}",
        b'{"id": "", "status": "completed"}',
        b'{"id": 7, "status": "completed"}',
    ],
)
async def test_an_answer_that_is_no_batch_is_a_bad_answer(
    client: OpenAIBatches, api: FakeBatchAPI, body: bytes
):
    api.answer_next(body, on="batches")
    with pytest.raises(BadAnswer):
        await client.poll("batch_1")


async def test_an_answer_that_is_no_file_is_a_bad_answer(client: OpenAIBatches, api: FakeBatchAPI):
    api.answer_next(b"{}", on="files")
    with pytest.raises(BadAnswer):
        await client.upload("k", {})


async def test_a_list_without_an_end_is_a_bad_answer(client: OpenAIBatches, api: FakeBatchAPI):
    page = {"data": [{"id": "batch_1", "metadata": None}], "has_more": True}
    for _ in range(batches_module.MAX_PAGES + 1):
        api.answer_next(json.dumps(page).encode(), on="batches")
    with pytest.raises(BadAnswer, match="pages"):
        await client.find("k")


async def test_a_refused_key_is_reported_and_never_shown(connect: Connect, api: FakeBatchAPI):
    client = await connect(api_key="sk-wrong-and-secret")
    with pytest.raises(Unauthorized) as raised:
        await client.check()
    shown = "".join(traceback.format_exception(raised.value))
    assert "sk-wrong-and-secret" not in shown + repr(client)
    api.fail_next(400, on="files", body=b'{"error": {"message": "key sk-wrong-and-secret"}}')
    with pytest.raises(Refused) as refused:
        await client.upload("k", {})
    assert "sk-wrong" not in str(refused.value)


async def test_what_is_said_of_a_file_is_not_taken_for_a_texts_fault(
    client: OpenAIBatches, api: FakeBatchAPI
):
    api.fail_next(400, on="files", body=b'{"error": {"message": "The input is too long"}}')
    with pytest.raises(Refused):
        await client.upload("k", {})


async def test_a_file_that_is_too_large_is_refused(client: OpenAIBatches, api: FakeBatchAPI):
    api.max_file_bytes = 10
    with pytest.raises(Refused, match="too large"):
        await client.upload("k", {0: client.body_of(SMALL, {"text": "one"})})


async def test_vectors_of_another_length_than_before_are_refused(
    client: OpenAIBatches, api: FakeBatchAPI
):
    await read(client, await finish(client, await submit(client, "one")))
    api.models = {SMALL: 8}
    answers = await read(client, await finish(client, await submit(client, "two")))
    assert isinstance(answers[0].error, BadAnswer)


async def test_it_is_opened_and_closed_as_often_as_one_likes(api: FakeBatchAPI):
    client = OpenAIBatches(
        Api("openai", api.api_key, api.url), EmbedderPlan(SMALL), TokenTables(no_tables)
    )
    with pytest.raises(RuntimeError, match="not open"):
        await client.check()
    batch = replace(ProviderBatch("b", "ended", "completed", 0, "f"), output_file="f")
    with pytest.raises(RuntimeError, match="not open"):
        await read(client, batch)
    for _ in range(2):
        await client.open()
    await client.check()
    for _ in range(2):
        await client.close()


async def test_nobody_else_closes_the_file_that_is_sent(
    api: FakeBatchAPI, client: OpenAIBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_by: list[threading.Thread] = []

    class WatchedFile(io.BufferedRandom):
        def close(self) -> None:
            closed_by.append(threading.current_thread())
            super().close()

    def make() -> WatchedFile:
        return WatchedFile(io.FileIO(tmp_path / "sent", "w+"))

    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    file_id = await client.upload("k1", {0: client.body_of(SMALL, {"text": "one"})})
    await asyncio.get_running_loop().shutdown_default_executor()
    # Two threads that close a file at the same moment end one of them with `ValueError`.
    assert closed_by == [threading.main_thread()]
    assert b'"custom_id":"0"' in api.files[file_id].content
