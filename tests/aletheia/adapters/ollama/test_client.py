import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import datetime
from typing import Any, TypeAlias

import aiohttp
import numpy as np
import orjson
import pytest

from aletheia.adapters.ollama.client import OllamaClient, ServerModel
from aletheia.analysis.model_manager import PullProgress
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    ComputeFailed,
    ConnectionLost,
    InvalidTask,
    Misconfigured,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from tests.fakes.faults import Misbehaviour
from tests.fakes.ollama import FakeOllama, Model, serve_fake_ollama

NOMIC = "nomic-embed-text"

Connect: TypeAlias = Callable[..., Awaitable[OllamaClient]]


@pytest.fixture
async def ollama() -> AsyncGenerator[FakeOllama]:
    async with serve_fake_ollama() as fake:
        yield fake


@pytest.fixture
async def connect(ollama: FakeOllama) -> AsyncGenerator[Connect]:
    async with AsyncExitStack() as closing:

        async def make(**options: Any) -> OllamaClient:
            bounds = {"stall_s": 2, "max_answer_bytes": OllamaClient.max_answer_bytes}
            bounds |= {name: options.pop(name) for name in bounds if name in options}
            client = OllamaClient(ollama.url, **{"timeout_s": 5, **options})
            for name, value in bounds.items():
                setattr(client, name, value)
            await client.open()
            closing.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def client(connect: Connect) -> OllamaClient:
    return await connect()


async def pull(client: OllamaClient, model: str = NOMIC) -> list[PullProgress]:
    async with aclosing(client.pull(model)) as steps:
        return [progress async for progress in steps]


async def failed_pull(client: OllamaClient, model: str = NOMIC) -> AletheiaError:
    with pytest.raises(AletheiaError) as raised:
        await pull(client, model)
    return raised.value


async def test_the_server_says_what_it_has(ollama: FakeOllama, client: OllamaClient) -> None:
    assert await client.version() == "0.12.6"
    assert await client.installed() == []
    ollama.install(dimensions=4, context=99, layers=[3, 4])
    ollama.install("mxbai-embed-large:335m")
    first, second = await client.installed()
    assert first == ServerModel("nomic-embed-text:latest", 7)
    assert second.name == "mxbai-embed-large:335m"
    assert await client.context_length(NOMIC) == 99


async def test_a_model_is_loaded_and_unloaded(ollama: FakeOllama, client: OllamaClient) -> None:
    ollama.install(layers=[7])
    assert await client.loaded() == []
    assert (await client.embed(NOMIC, [])).vectors == []
    assert await client.loaded() == [
        ServerModel("nomic-embed-text:latest", 7, "2026-11-21T12:00:00Z")
    ]
    await client.embed(NOMIC, [], keep_alive_s=0)
    assert await client.loaded() == []


async def test_loading_says_how_long_it_took_and_what_it_takes(
    ollama: FakeOllama, client: OllamaClient
) -> None:
    ollama.install(layers=[7], memory=30)
    ollama.load_s = 0.05
    model, load_s = await client.load(f"{NOMIC}:latest", keep_alive_s=90)
    assert 0.05 <= load_s < 2
    assert (model.name, model.size_bytes) == ("nomic-embed-text:latest", 30)
    assert datetime.fromisoformat(model.expires_at).timestamp() - time.time() > 80
    _, again_s = await client.load(NOMIC)
    assert again_s < 0.05
    assert ollama.loads == [NOMIC]
    assert ollama.requests[0].body == {
        "model": f"{NOMIC}:latest",
        "input": [],
        "truncate": False,
        "keep_alive": 90,
    }


async def test_unloading_is_over_when_the_model_is_gone(
    ollama: FakeOllama, client: OllamaClient
) -> None:
    ollama.install()
    ollama.unload_s = 0.1
    await client.load(NOMIC)
    await client.unload(NOMIC)
    assert ollama.loaded == {}


async def test_unloading_does_not_load_what_is_not_there(
    ollama: FakeOllama, client: OllamaClient
) -> None:
    ollama.install()
    await client.unload(NOMIC)
    assert ollama.loads == []


async def test_unloading_waits_for_the_requests_under_way(
    ollama: FakeOllama, client: OllamaClient
) -> None:
    ollama.install()
    ollama.embed_s = 0.2
    using = asyncio.create_task(client.embed(NOMIC, ["a"]))
    while not ollama.loaded:
        await asyncio.sleep(0.01)
    await client.unload(NOMIC)
    assert using.done()
    assert len((await using).vectors) == 1


async def test_a_model_that_does_not_go_is_an_outage(ollama: FakeOllama, connect: Connect) -> None:
    client = await connect(timeout_s=0.2)
    ollama.install()
    ollama.unload_s = 60
    await client.load(NOMIC)
    with pytest.raises(Unavailable, match=r"is still loaded after 0\.2 s"):
        await client.unload(NOMIC)


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_a_model_that_is_not_there_is_neither_loaded_nor_unloaded(
    client: OllamaClient, action: str
) -> None:
    with pytest.raises(InvalidTask) as raised:
        await getattr(client, action)("no-such-model")
    assert raised.value.code == "model_not_found"


async def test_a_server_that_does_not_do_what_it_was_asked_gives_a_bad_answer(
    ollama: FakeOllama, client: OllamaClient
) -> None:
    ollama.install()
    ollama.answer_next(b'{"done": true, "done_reason": "load"}', on="generate")
    with pytest.raises(BadAnswer, match="it says 'load'"):
        await client.unload(NOMIC)
    ollama.answer_next(b'{"models": []}', on="ps")
    with pytest.raises(BadAnswer, match="not listed"):
        await client.load(NOMIC)


async def test_texts_are_embedded_in_order(ollama: FakeOllama, client: OllamaClient) -> None:
    ollama.install()
    answer = await client.embed(f"{NOMIC}:latest", ["a b", "c"])
    assert answer.tokens == 3
    for vector, text in zip(answer.vectors, ["a b", "c"], strict=True):
        assert vector == pytest.approx(ollama.vector(NOMIC, text))
    body = {"model": f"{NOMIC}:latest", "input": ["a b", "c"], "truncate": False}
    assert ollama.requests[-1].body == body


async def test_shorter_vectors_can_be_asked_for(ollama: FakeOllama, client: OllamaClient) -> None:
    ollama.install()
    (vector,) = (await client.embed(NOMIC, ["a"], dimensions=8)).vectors
    assert isinstance(vector, np.ndarray)
    assert len(vector) == 8
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


async def test_a_server_that_counts_no_tokens_is_understood(
    ollama: FakeOllama, client: OllamaClient
) -> None:
    ollama.install()
    ollama.counts_tokens = False
    assert (await client.embed(NOMIC, ["a"])).tokens is None


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (404, "model 'm' not found", InvalidTask("model_not_found", "")),
        (404, 'model "m" not found, try pulling it first', InvalidTask("model_not_found", "")),
        (400, "model is required", InvalidTask("model_not_found", "")),
        (501, "this model does not support embeddings", InvalidTask("unsupported_model", "")),
        (400, "the input length exceeds the context length", InvalidTask("input_too_long", "")),
        (400, "input length exceeds maximum context length", InvalidTask("input_too_long", "")),
        (400, "embedding contains NaN or Inf values", ComputeFailed("bad_vector", "")),
        (
            500,
            "failed to encode response: json: unsupported value: NaN",
            ComputeFailed("bad_vector", ""),
        ),
        (503, "server busy, please try again.", Unavailable("ollama", "", 2, 503)),
        (500, "llama runner process has terminated", Unavailable("ollama", "", 2, 500)),
        (429, "too many", Unavailable("ollama", "", 2, 429)),
        (401, "unauthorized", Unauthorized("ollama", 401)),
        (403, "", Unauthorized("ollama", 403)),
        (400, "json: cannot unmarshal", Refused("ollama", 400)),
        (302, "", BadAnswer("ollama", "", None, 302)),
    ],
)
async def test_refusals_are_told_apart(
    ollama: FakeOllama, client: OllamaClient, status: int, said: str, error: AletheiaError
) -> None:
    body = orjson.dumps({"error": said})
    ollama.answer_next(body, status=status, headers={"Retry-After": "2", "Location": "/api/tags"})
    with pytest.raises(AletheiaError) as raised:
        await client.embed("m", ["x"])
    assert (type(raised.value), raised.value.code) == (type(error), error.code)
    assert said in str(raised.value)
    if isinstance(error, Unavailable) and not isinstance(error, BadAnswer):
        assert isinstance(raised.value, Unavailable)
        assert (raised.value.retry_after_s, raised.value.status) == (2, status)
    assert len(ollama.requests) == 1


async def test_an_address_without_the_api_is_not_a_missing_model(
    ollama: FakeOllama, connect: Connect
) -> None:
    client = await connect()
    ollama.answer_next(b"404 page not found", status=404)
    with pytest.raises(NotFound, match="404 page not found"):
        await client.embed(NOMIC, ["x"])


@pytest.mark.parametrize(
    ("misbehaviour", "status"),
    [
        ("hangs_up", None),
        ("loses_its_answer", None),
        ("cuts_its_body", 200),
        ("stalls", 200),
        ("never_ends", 200),
        ("is_not_http", None),
    ],
)
async def test_a_connection_that_fails_is_an_outage(
    ollama: FakeOllama, connect: Connect, misbehaviour: Misbehaviour, status: int | None
) -> None:
    ollama.install()
    client = await connect(timeout_s=0.3, max_answer_bytes=2**30)
    ollama.misbehave_next(misbehaviour, on="embed")
    with pytest.raises(Unavailable) as raised:
        await client.embed(NOMIC, ["x"])
    assert (raised.value.dependency, raised.value.status) == ("ollama", status)
    assert len(ollama.requests) == 1
    assert len((await client.embed(NOMIC, ["x"])).vectors) == 1


async def test_a_server_that_is_not_there_is_an_outage(
    ollama: FakeOllama, client: OllamaClient
) -> None:
    await ollama.stop()
    with pytest.raises(Unavailable, match="connect"):
        await client.version()
    assert isinstance(await failed_pull(client), Unavailable)


async def test_an_answer_is_read_up_to_a_limit(ollama: FakeOllama, connect: Connect) -> None:
    client = await connect(max_answer_bytes=100_000)
    ollama.misbehave_next("never_ends")
    with pytest.raises(BadAnswer, match="longer than 100,000 bytes"):
        await client.installed()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "a web page in place of JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no list of embeddings"),
        (b'{"embeddings": []}', "0 vectors for 1 texts"),
        (b'{"embeddings": [[1], [2]]}', "2 vectors for 1 texts"),
        (b'{"embeddings": [null]}', "a vector that is not a list"),
        (b'{"embeddings": [[1], null, [2]]}', "3 vectors for 1 texts"),
        (b'{"embeddings": [["a"]]}', "a vector that is not a list of numbers"),
    ],
)
async def test_an_answer_that_breaks_its_promises_is_a_bad_answer(
    ollama: FakeOllama, client: OllamaClient, body: bytes, reason: str
) -> None:
    ollama.answer_next(body)
    with pytest.raises(BadAnswer, match=reason):
        await client.embed(NOMIC, ["x"])


@pytest.mark.parametrize("odd", [b"null", b"{}", b'"x"', b'["a"]', b"[[1]]"])
async def test_an_odd_entry_among_others_is_missing(
    ollama: FakeOllama, client: OllamaClient, odd: bytes
) -> None:
    ollama.answer_next(b'{"embeddings": [[1], %s, [2]]}' % odd)
    first, missing, last = (await client.embed(NOMIC, ["x", "y", "z"])).vectors
    assert isinstance(missing, ComputeFailed)
    assert missing.code == "no_vector"
    assert [first, last] == [[1], [2]]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"models": {}}', b'{"models": [1]}', b'{"models": [{"name": 1}]}']
)
async def test_lists_of_models_are_checked(
    ollama: FakeOllama, client: OllamaClient, body: bytes
) -> None:
    ollama.answer_next(body, on="tags")
    ollama.answer_next(body, on="ps")
    with pytest.raises(BadAnswer):
        await client.installed()
    with pytest.raises(BadAnswer):
        await client.loaded()


@pytest.mark.parametrize(
    ("body", "context"),
    [
        (b"{}", None),
        (b'{"model_info": null, "capabilities": null}', None),
        (b'{"model_info": {"general.architecture": "bert"}}', None),
        (
            b'{"model_info": {"general.architecture": "bert", "bert.context_length": "512"}}',
            None,
        ),
        (
            b'{"model_info": {"general.architecture": "bert", "bert.context_length": 512}}',
            512,
        ),
    ],
)
async def test_what_a_server_does_not_say_of_a_model_is_unknown(
    ollama: FakeOllama, client: OllamaClient, body: bytes, context: int | None
) -> None:
    ollama.answer_next(body, on="show")
    assert await client.context_length(NOMIC) == context


async def test_a_download_reports_how_far_it_is(ollama: FakeOllama, client: OllamaClient) -> None:
    ollama.registry[NOMIC] = Model(layers=[250, 50])
    progress = await pull(client)
    progress = [
        (pull.status.split(" ")[0], pull.completed_bytes, pull.total_bytes) for pull in progress
    ]
    assert progress == [
        ("pulling", 0, 0),
        ("pulling", 0, 250),
        ("pulling", 100, 250),
        ("pulling", 200, 250),
        ("pulling", 250, 250),
        ("pulling", 250, 300),
        ("pulling", 300, 300),
        ("verifying", 300, 300),
        ("writing", 300, 300),
        ("success", 300, 300),
    ]
    assert list(ollama.models) == [NOMIC]
    assert len(await pull(client)) == 6


async def test_a_model_that_does_not_exist_cannot_be_downloaded(client: OllamaClient) -> None:
    for model in ("no-such-model", "no name"):
        error = await failed_pull(client, model)
        assert isinstance(error, InvalidTask)
        assert error.code == "model_not_found"


@pytest.mark.parametrize("fault", ["stalls", "repeats"])
async def test_a_download_that_stalls_is_given_up(
    ollama: FakeOllama, connect: Connect, fault: Any
) -> None:
    client = await connect(stall_s=0.15)
    ollama.pull_fault = fault
    started = time.monotonic()
    error = await failed_pull(client)
    assert isinstance(error, Unavailable)
    assert error.reason == (
        "the download of 'nomic-embed-text', 500 of 700 bytes complete, brought nothing for 0.15 s"
    )
    assert 0.14 < time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("fault", "reason"), [("dies", "broke off"), ("fails", "max retries exceeded")]
)
async def test_a_download_that_breaks_off_goes_on_from_where_it_was(
    ollama: FakeOllama, client: OllamaClient, fault: Any, reason: str
) -> None:
    ollama.pull_fault = fault
    error = await failed_pull(client)
    assert isinstance(error, Unavailable)
    assert reason in error.reason
    assert "500 of 700 bytes" in error.reason
    progress = await pull(client)
    assert [pull.completed_bytes for pull in progress][:2] == [0, 500]
    assert progress[-1].status == "success"


async def test_a_download_has_to_end_in_time(ollama: FakeOllama, connect: Connect) -> None:
    client = await connect(pull_timeout_s=0.2)
    ollama.pull_fault = "stalls"
    started = time.monotonic()
    error = await failed_pull(client)
    assert isinstance(error, Unavailable)
    assert "is not complete within 0.2 s" in error.reason
    assert time.monotonic() - started < 1


async def test_verifying_may_take_longer_than_a_download_may_stall(
    ollama: FakeOllama, connect: Connect
) -> None:
    client = await connect(stall_s=0.1)
    ollama.verify_s = 0.3
    assert (await pull(client))[-1].status == "success"


@pytest.mark.parametrize(
    ("misbehaviour", "kind"),
    [
        ("hangs_up", ConnectionLost),
        ("cuts_its_body", Unavailable),
        ("stalls", Unavailable),
        ("never_ends", BadAnswer),
    ],
)
async def test_a_download_over_a_connection_that_fails_is_an_outage(
    ollama: FakeOllama,
    connect: Connect,
    misbehaviour: Misbehaviour,
    kind: type[Unavailable],
) -> None:
    client = await connect(stall_s=0.3)
    ollama.misbehave_next(misbehaviour)
    assert type(await failed_pull(client)) is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", Unavailable),
        (b'{"status":"pulling manifest"}\n', Unavailable),
        (b'{"status":"pulling manifest"}\n{"sta', BadAnswer),
        (b"<html>\n", BadAnswer),
        (b"[]\n", BadAnswer),
    ],
)
async def test_a_download_that_does_not_say_success_has_failed(
    ollama: FakeOllama, client: OllamaClient, body: bytes, kind: type[Unavailable]
) -> None:
    ollama.answer_next(body)
    assert type(await failed_pull(client)) is kind


async def test_a_busy_server_downloads_nothing(ollama: FakeOllama, client: OllamaClient) -> None:
    ollama.fail_next(503, on="pull", retry_after=9)
    error = await failed_pull(client)
    assert isinstance(error, Unavailable)
    assert (error.status, error.retry_after_s) == (503, 9)


def test_an_address_that_is_none_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="OLLAMA_BASE_URL"):
        OllamaClient("localhost:11434")


async def test_a_client_that_is_not_open_sends_nothing() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await OllamaClient("http://localhost:11434").version()


@pytest.mark.parametrize(
    ("endpoint", "body", "status", "said"),
    [
        ("embed", {"model": NOMIC, "inputs": ["a"]}, 400, 'unknown field "inputs"'),
        ("embed", {"model": NOMIC, "input": 7}, 400, "invalid input type"),
        ("embed", {"model": NOMIC, "input": ["a", 7]}, 400, "invalid input type"),
        ("embed", {"model": NOMIC, "input": "a", "truncate": "no"}, 400, "cannot unmarshal"),
        ("embed", {"model": "m", "input": "a"}, 404, "model 'm' not found"),
        ("embed", {"input": "a"}, 404, "model '' not found"),
        ("embed", {"model": NOMIC, "input": "a b c", "truncate": False}, 400, "input length"),
        ("embed", {"model": NOMIC, "input": "a b c"}, 200, ""),
        ("show", {"model": "m"}, 404, "model 'm' not found"),
        ("pull", {"model": ""}, 400, "invalid model name"),
        ("pull", {"name": NOMIC}, 400, 'unknown field "name"'),
        ("generate", {"model": "m", "keep_alive": 0}, 404, "model 'm' not found"),
        ("generate", {"model": NOMIC, "keep_alive": 1}, 400, "does not support generate"),
        ("generate", {"model": NOMIC, "keep_alive": 0}, 200, ""),
    ],
)
async def test_the_fake_is_strict(
    ollama: FakeOllama, endpoint: str, body: dict[str, Any], status: int, said: str
) -> None:
    ollama.install(context=2)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{ollama.url}/api/{endpoint}", json=body) as response,
    ):
        answered = orjson.loads(await response.read())
    assert response.status == status
    assert said in answered.get("error", "")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/embed", 405), ("POST", "/api/tags", 405), ("GET", "/api/nowhere", 404)],
)
async def test_the_fake_has_ollamas_paths(
    ollama: FakeOllama, method: str, path: str, status: int
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, ollama.url + path) as response,
    ):
        assert response.status == status
