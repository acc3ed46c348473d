import asyncio
import json
import pickle
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from email.utils import formatdate
from typing import Any, TypeAlias

import aiohttp
import numpy as np
import orjson
import pytest
import tiktoken

from aletheia.adapters.embedding.input_limits import InputLimits
from aletheia.adapters.embedding.remote import MAX_REFUSALS, PROBE_TEXTS, EmbedderPlan
from aletheia.adapters.metering import key_of
from aletheia.adapters.openai.embedder import OpenAIEmbedder
from aletheia.adapters.openai.tokens import Encoding, TokenTables
from aletheia.adapters.openai.wire import Api
from aletheia.analysis.ports import Embedder, Embedding, LongText
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    ComputeFailed,
    InvalidTask,
    Misconfigured,
    NotFound,
    QuotaExhausted,
    Refused,
    Unauthorized,
    Unavailable,
)
from aletheia.llm.calls import CallPlan
from aletheia.llm.prices import Tokens
from tests.fakes.calls import Recorder
from tests.fakes.faults import Misbehaviour
from tests.fakes.openai import FakeOpenAI, Spoil, error_body, make_encoding, serve_fake_openai

SMALL = "text-embedding-3-small"
OTHER = "bge-m3"
"""A model that tiktoken has no tables for."""

Connect: TypeAlias = Callable[..., Awaitable[OpenAIEmbedder]]


BOUNDS = ("max_tokens", "max_text_tokens")


def no_tables(name: str) -> Encoding:
    raise OSError(f"{name} cannot be had")


def tables(encoding: tiktoken.Encoding) -> TokenTables:
    return TokenTables(lambda _: encoding)


@pytest.fixture
async def openai() -> AsyncGenerator[FakeOpenAI]:
    async with serve_fake_openai() as fake:
        fake.models = {SMALL: 16, "text-embedding-ada-002": 16, OTHER: 8}
        yield fake


@pytest.fixture
async def connect(openai: FakeOpenAI) -> AsyncGenerator[Connect]:
    async with AsyncExitStack() as closing:

        async def make(api_key: str | None = None, **options: Any) -> OpenAIEmbedder:
            url, timeout_s = options.pop("base_url", openai.url), options.pop("timeout_s", 5)
            tables = options.pop("tables", TokenTables(no_tables))
            bounds = {name: options.pop(name) for name in BOUNDS if name in options}
            if "max_inputs" in options:
                options["limits"] = InputLimits(options.pop("max_inputs"))
            api = Api("openai", api_key or openai.api_key, url, timeout_s=timeout_s)
            plan = EmbedderPlan(options.pop("default_model", SMALL), **options)
            embedder = OpenAIEmbedder(api, plan, tables)
            for name, value in bounds.items():
                setattr(embedder, name, value)
            await embedder.open()
            closing.push_async_callback(embedder.close)
            return embedder

        yield make


@pytest.fixture
async def embedder(connect: Connect) -> OpenAIEmbedder:
    return await connect()


def build(
    key: str = "key", *, url: str = "https://api.openai.com/v1", default_model: str = SMALL
) -> OpenAIEmbedder:
    return OpenAIEmbedder(Api("openai", key, url), EmbedderPlan(default_model))


async def embed(
    embedder: OpenAIEmbedder, texts: Sequence[str], model: str = SMALL
) -> list[Embedding | AletheiaError]:
    """Embed texts and put what came in their order."""
    found: dict[int, Embedding | AletheiaError] = {}
    async with aclosing(embedder.embed(model, texts)) as groups:
        async for group in groups:
            for answer in group:
                assert answer.index not in found
                found[answer.index] = answer.result
    assert sorted(found) == list(range(len(texts)))
    return [found[index] for index in range(len(texts))]


async def failure(
    embedder: OpenAIEmbedder, texts: Sequence[str] = ("x",), model: str = SMALL
) -> AletheiaError:
    with pytest.raises(AletheiaError) as raised:
        await embed(embedder, texts, model)
    return raised.value


async def refusal(embedder: OpenAIEmbedder, texts: Sequence[str] = ("x",)) -> AletheiaError:
    """Send one request and return what it ends with."""
    with pytest.raises(AletheiaError) as raised:
        await embedder.call(SMALL, texts)
    return raised.value


def codes(results: Sequence[Embedding | AletheiaError]) -> list[str | None]:
    return [result.code if isinstance(result, AletheiaError) else None for result in results]


def vectors(results: Sequence[Embedding | AletheiaError]) -> list[list[float]]:
    return [result.vector.tolist() for result in results if isinstance(result, Embedding)]


async def test_vectors_come_in_the_order_of_the_texts(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.shuffles = True
    texts = [f"text {number}" for number in range(50)]
    results = await embed(embedder, texts)
    assert vectors(results) == [openai.vector(SMALL, text).tolist() for text in texts]
    assert openai.sent == [texts]


async def test_equal_texts_are_sent_once_and_answered_alike(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    results = await embed(embedder, ["a b", "c", "a b", "a b"])
    assert openai.sent == [["a b", "c"]]
    assert vectors(results) == [
        openai.vector(SMALL, text).tolist() for text in ["a b", "c", "a b", "a b"]
    ]
    assert [result.tokens for result in results if isinstance(result, Embedding)] == [2, 1, 2, 2]


async def test_a_request_says_what_the_api_wants_and_no_more(
    openai: FakeOpenAI, connect: Connect
) -> None:
    await embed(await connect(), ["x"])
    await embed(await connect(dimensions=4), ["x"])
    plain = {"model": SMALL, "input": ["x"], "encoding_format": "base64"}
    assert [request.body for request in openai.requests] == [plain, {**plain, "dimensions": 4}]
    assert openai.requests[0].headers["Authorization"] == f"Bearer {openai.api_key}"


@pytest.mark.parametrize(("texts", "requests"), [(2048, [2048]), (2049, [2048, 1])])
async def test_a_request_has_at_most_2048_texts(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, texts: int, requests: list[int]
) -> None:
    results = await embed(embedder, [f"{number}" for number in range(texts)])
    assert codes(results) == [None] * texts
    assert sorted(map(len, openai.sent), reverse=True) == requests


@pytest.mark.parametrize(("texts", "requests"), [(60, [60]), (61, [60, 1])])
async def test_a_request_has_at_most_300000_tokens_even_where_bytes_stand_in_for_them(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, texts: int, requests: list[int]
) -> None:
    openai.count = lambda text: len(text.encode())
    results = await embed(embedder, [f"{number:05}" * 1000 for number in range(texts)])
    assert codes(results) == [None] * texts
    assert sorted(map(len, openai.sent), reverse=True) == requests


async def test_counted_tokens_fill_a_request_better_than_bytes(
    openai: FakeOpenAI, connect: Connect
) -> None:
    encoding = make_encoding("wonderful")
    openai.count = lambda text: len(encoding.encode_ordinary(text))
    texts = ["wonderful " * number + "wonderful" for number in range(1, 5)]
    recorder = Recorder()
    counting = await connect(max_tokens=10, concurrency=1, tables=tables(encoding), guard=recorder)
    results = await embed(counting, texts)
    assert openai.sent == [texts[:3], texts[3:]]
    assert [plan.max_tokens.total for plan in recorder.plans] == [9, 5]
    assert [result.tokens for result in results if isinstance(result, Embedding)] == [2, 3, 4, 5]


async def test_many_texts_are_counted_beside_the_loop(openai: FakeOpenAI, connect: Connect) -> None:
    encoding = make_encoding("wonderful")
    openai.count = lambda text: len(encoding.encode_ordinary(text))
    embedder = await connect(tables=tables(encoding))
    results = await embed(embedder, ["wonderful " * number for number in range(1000, 1040)])
    assert [result.tokens for result in results if isinstance(result, Embedding)] == [
        number + 1 for number in range(1000, 1040)
    ]


async def test_nobody_waits_for_tables_where_bytes_settle_everything(connect: Connect) -> None:
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def load(_: str) -> Encoding:
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result()
        return make_encoding()

    embedder = await connect(tables=TokenTables(load, wait_s=4))
    async with asyncio.timeout(2):
        assert codes(await embed(embedder, ["x" * 8192, "y"])) == [None, None]
    held.set()


@pytest.mark.parametrize(
    ("mode", "windows", "tokens"),
    [
        ("fail", [], 0),
        ("truncate", ["rain" + " rain" * 13], 14),
        ("chunk", ["rain" + " rain" * 13, " rain" * 14, " rain" * 12], 40),
    ],
)
async def test_a_long_text_is_refused_truncated_or_cut_into_windows(
    openai: FakeOpenAI, connect: Connect, mode: LongText, windows: list[str], tokens: int
) -> None:
    encoding = make_encoding("rain", "short")
    openai.count = lambda text: len(encoding.encode_ordinary(text))
    openai.max_text_tokens = 16
    embedder = await connect(long_text=mode, max_text_tokens=16, tables=tables(encoding))
    short, long = await embed(embedder, ["short", " ".join(["rain"] * 40)])
    assert openai.sent == [["short", *windows]]
    assert isinstance(short, Embedding)
    assert not short.is_truncated
    if mode == "fail":
        assert codes([long]) == ["input_too_long"]
        return
    assert isinstance(long, Embedding)
    assert (long.is_truncated, long.tokens) == (mode == "truncate", tokens)
    mean = np.average(
        [openai.vector(SMALL, window).astype(float) for window in windows],
        axis=0,
        weights=list(map(len, windows)),
    )
    assert long.vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


@pytest.mark.parametrize("mode", ["fail", "truncate", "chunk"])
async def test_without_tables_a_text_that_may_fit_is_sent_whole(
    openai: FakeOpenAI, connect: Connect, mode: LongText
) -> None:
    openai.max_text_tokens = 16
    text = "twelve-bytes " * 16
    recorder = Recorder()
    embedder = await connect(long_text=mode, max_text_tokens=16, guard=recorder)
    (result,) = await embed(embedder, [text])
    assert isinstance(result, Embedding)
    assert (result.is_truncated, result.tokens) == (False, 16)
    assert openai.sent == [[text]]
    assert [plan.max_tokens.total for plan in recorder.plans] == [16]


@pytest.mark.parametrize(
    ("mode", "expected", "tokens"),
    [("fail", "input_too_long", 0), ("truncate", None, 10), ("chunk", None, 40)],
)
async def test_without_tables_a_text_that_does_not_fit_is_cut_after_it_was_refused(
    openai: FakeOpenAI, connect: Connect, mode: LongText, expected: str | None, tokens: int
) -> None:
    openai.max_text_tokens = 16
    long = " ".join(["rain"] * 40)
    embedder = await connect(long_text=mode, max_text_tokens=16, concurrency=1)
    results = await embed(embedder, ["one", long, "two"])
    assert codes(results) == [None, expected, None]
    if isinstance(result := results[1], Embedding):
        assert result.tokens == tokens
        assert result.is_truncated == (mode == "truncate")
        assert np.linalg.norm(result.vector) == pytest.approx(1, abs=1e-6)
    if mode == "truncate":
        assert any(long.startswith(sent[0]) and sent[0] != long for sent in openai.sent)


async def test_a_text_at_the_limit_is_not_too_long(openai: FakeOpenAI, connect: Connect) -> None:
    encoding = make_encoding("rain")
    openai.count = lambda text: len(encoding.encode_ordinary(text))
    openai.max_text_tokens = 16
    embedder = await connect(max_text_tokens=16, tables=tables(encoding))
    results = await embed(embedder, [" ".join(["rain"] * count) for count in (16, 17)])
    assert codes(results) == [None, "input_too_long"]


async def test_a_far_too_long_text_is_refused_by_its_size_alone(
    openai: FakeOpenAI, connect: Connect
) -> None:
    embedder = await connect(long_text="chunk", tables=tables(make_encoding()))
    assert codes(await embed(embedder, ["x" * (128 * 8192 + 1)])) == ["input_too_long"]
    assert openai.sent == []


async def test_texts_that_nobody_can_embed_are_not_sent(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    results = await embed(embedder, ["", "good", " ", "a\udc00b"])
    assert codes(results) == ["empty_text", None, "empty_text", "invalid_text"]
    assert openai.sent == [["good"]]
    assert await embed(embedder, []) == []
    assert len(openai.sent) == 1


async def test_one_bad_text_fails_alone(openai: FakeOpenAI, embedder: OpenAIEmbedder) -> None:
    texts = [f"text {number}" for number in range(100)]
    openai.refuses = {"text 71"}
    results = await embed(embedder, texts)
    assert [index for index, code in enumerate(codes(results)) if code] == [71]
    assert codes(results)[71] == "invalid_text"
    assert len(openai.requests) <= 15


async def test_many_bad_texts_are_sent_one_by_one_in_the_end(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    texts = [f"text {number:03}" for number in range(400)]
    openai.refuses = set(texts)
    results = await embed(embedder, texts)
    assert set(codes(results)) == {"invalid_text"}
    assert len(openai.requests) <= 400 + 3 * MAX_REFUSALS


async def test_a_wrong_key_is_unauthorized_and_shown_nowhere(connect: Connect) -> None:
    key = "sk-wrong-abcdefghijklmnop"
    embedder = await connect(key)
    error = await failure(embedder)
    assert isinstance(error, Unauthorized)
    assert (error.dependency, error.status, error.reason) == ("openai", 401, "invalid_api_key")
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = repr(embedder) + repr(error) + "".join(traceback.format_exception(error))
    assert "mnop" not in shown + repr(pickle.dumps(error))


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
async def test_a_key_that_a_server_repeats_is_not_passed_on(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, status: int
) -> None:
    openai.fail_next(status, body=error_body(f"what is {openai.api_key} to me?"))
    error = await refusal(embedder)
    assert openai.api_key not in repr(error) + "".join(traceback.format_exception(error))
    assert "***" in str(error)


async def test_a_model_that_does_not_exist_is_the_tasks_fault(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    error = await failure(embedder, ["a", "b"], "text-embedding-9")
    assert isinstance(error, InvalidTask)
    assert error.code == "model_not_found"
    assert "text-embedding-9" in error.message
    assert len(openai.requests) == 1


async def test_a_model_that_gives_no_embeddings_is_the_tasks_fault(
    embedder: OpenAIEmbedder,
) -> None:
    error = await failure(embedder, model="gpt-4o")
    assert isinstance(error, InvalidTask)
    assert error.code == "unsupported_model"


async def test_an_address_without_the_api_is_not_a_missing_model(
    openai: FakeOpenAI, connect: Connect
) -> None:
    error = await failure(await connect(base_url=f"{openai.url}/nowhere"))
    assert isinstance(error, NotFound)
    assert "Invalid URL" in error.reason


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(
            403,
            error_body("Project `p` does not have access to model `m`", code="model_not_found"),
            InvalidTask("model_not_found", ""),
            id="a project without access",
        ),
        pytest.param(
            404,
            b'{"object":"error","message":"The model `m` does not exist.","code":404}',
            InvalidTask("model_not_found", ""),
            id="vLLM, missing model",
        ),
        pytest.param(
            400,
            b'{"object":"error","message":"This model\'s maximum context length is 512 tokens. '
            b'However, you requested 600 tokens in the input.","type":"BadRequestError",'
            b'"param":null,"code":400}',
            InvalidTask("input_too_long", ""),
            id="vLLM, long text",
        ),
        pytest.param(
            413,
            b'{"error":"Input validation error: `inputs` must have less than 512 tokens. '
            b'Given: 700","error_type":"Validation"}',
            InvalidTask("input_too_long", ""),
            id="text-embeddings-inference, long text",
        ),
        pytest.param(
            400,
            error_body("x", code="context_length_exceeded"),
            InvalidTask("input_too_long", ""),
            id="by its code",
        ),
        pytest.param(
            400,
            error_body("This model does not support specifying dimensions."),
            Refused("openai", 400),
            id="dimensions",
        ),
        pytest.param(
            400,
            error_body("too long", param="user"),
            Refused("openai", 400),
            id="another property too long",
        ),
        pytest.param(403, error_body("Country not supported"), Unauthorized("openai", 403)),
        pytest.param(418, b"", Refused("openai", 418), id="no body"),
        pytest.param(404, b"<html>404</html>", NotFound("openai", 404), id="html"),
    ],
)
async def test_refusals_are_told_apart(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, status: int, body: bytes, error: AletheiaError
) -> None:
    openai.fail_next(status, body=body)
    with pytest.raises(AletheiaError) as raised:
        await embedder.call(SMALL, ["x"])
    assert (type(raised.value), raised.value.code) == (type(error), error.code)
    assert len(openai.requests) == 1


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, None),
        ("7", 7),
        ("0.5", 0.5),
        (formatdate(1_800_000_030, usegmt=True), 30),
        ("soon", None),
        ("999999999", 86_400),
    ],
)
async def test_a_429_says_how_long_to_wait_if_it_does(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, header: str | None, wait_s: float | None
) -> None:
    headers = {"Date": formatdate(1_800_000_000, usegmt=True)}
    if header is not None:
        headers["Retry-After"] = header
    body = error_body("Rate limit reached", kind="requests", code="rate_limit_exceeded")
    openai.answer_next(body, status=429, headers=headers)
    error = await failure(embedder)
    assert type(error) is Unavailable
    assert (error.retry_after_s, error.status) == (wait_s, 429)
    assert len(openai.requests) == 1


async def test_a_wait_in_milliseconds_is_understood(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.answer_next(b"{}", status=429, headers={"retry-after-ms": "250", "retry-after": "1"})
    error = await failure(embedder)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 0.25


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, error_body("You exceeded your current quota", code="insufficient_quota")),
        (429, error_body("You exceeded your current quota", kind="insufficient_quota")),
        (402, error_body("Insufficient Balance")),
    ],
)
async def test_an_empty_account_is_distinct_from_a_rate_limit(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, status: int, body: bytes
) -> None:
    openai.fail_next(status, body=body)
    error = await failure(embedder)
    assert isinstance(error, QuotaExhausted)
    assert (error.code, error.status, error.retryable) == ("quota_exhausted", status, True)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529])
async def test_an_outage_is_reported_once_and_not_retried(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, status: int
) -> None:
    openai.fail_next(status, retry_after=3)
    error = await failure(embedder)
    assert type(error) is Unavailable
    assert (error.status, error.retry_after_s) == (status, 3)
    assert len(openai.requests) == 1


@pytest.mark.parametrize(
    ("misbehaviour", "status"),
    [
        ("hangs_up", None),
        ("loses_its_answer", None),
        ("is_not_http", None),
        ("cuts_its_body", 200),
        ("stalls", 200),
        ("never_ends", 200),
    ],
)
async def test_a_connection_that_fails_is_an_outage(
    openai: FakeOpenAI, connect: Connect, misbehaviour: Misbehaviour, status: int | None
) -> None:
    embedder = await connect(timeout_s=0.3)
    openai.misbehave_next(misbehaviour)
    error = await refusal(embedder)
    assert isinstance(error, Unavailable)
    assert (error.dependency, error.status) == ("openai", status)
    assert len(openai.requests) == 1
    assert codes(await embed(embedder, ["x"])) == [None]


async def test_a_server_that_is_not_there_is_an_outage(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    await openai.stop()
    error = await failure(embedder)
    assert isinstance(error, Unavailable)
    assert error.status is None


async def test_an_answer_is_read_up_to_a_limit(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.misbehave_next("never_ends")
    error = await refusal(embedder)
    assert isinstance(error, BadAnswer)
    assert error.reason == "longer than 1,572,864 bytes"


def answer(*entries: Any, **rest: Any) -> bytes:
    return json.dumps({"object": "list", "data": entries, "model": SMALL, **rest}).encode()


def entry(index: Any = 0, embedding: Any = (1.0, 0.0)) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>hello</html>", "a web page in place of JSON"),
        (b'{"data": [', "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no list of vectors"),
        (answer(), "0 vectors for 1 texts"),
        (answer(entry(), entry(1)), "2 vectors for 1 texts"),
        (answer(entry(1)), "a vector with index 1"),
        (answer(entry(-1)), "a vector with index -1"),
        (answer(entry([[0]])), "a vector with index that is no number"),
        (answer(entry("x")), "a vector with index that is no number"),
        (answer(entry(0.5)), "a vector with index that is no number"),
        (answer(entry("1")), "a vector with index 1"),
        (answer(entry(embedding="ü")), "a vector that is not base64"),
        (answer(entry(True)), "a vector with index True"),
        (answer("x"), "a vector that is not a list"),
        (answer(entry(embedding=None)), "a vector that is not a list"),
        (answer(entry(embedding="%%%")), "a vector that is not base64"),
        (answer(entry(embedding="AAAAAAA=")), "a vector of broken numbers"),
        (answer(entry(embedding=["a"])), "a vector that is not a list of numbers"),
        (answer(entry(embedding=[])), "vectors of 0 dimensions"),
        (answer(entry(embedding="")), "vectors of 0 dimensions"),
    ],
)
async def test_an_answer_that_breaks_its_promises_is_a_bad_answer(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, body: bytes, reason: str
) -> None:
    openai.answer_next(body)
    error = await refusal(embedder)
    assert isinstance(error, BadAnswer)
    assert reason in error.reason
    assert len(openai.requests) == 1


@pytest.mark.parametrize("write", [str, float])
async def test_an_index_is_a_whole_number_however_it_is_written(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, write: Callable[[int], Any]
) -> None:
    openai.answer_next(answer(entry(write(1), (0.0, 1.0)), entry(write(0), (1.0, 0.0))))
    assert vectors(await embed(embedder, ["a", "b"])) == [[1.0, 0.0], [0.0, 1.0]]


async def test_the_same_index_twice_is_a_bad_answer(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.answer_next(answer(entry(0), entry(0)))
    error = await failure(embedder, ["a", "b"])
    assert isinstance(error, BadAnswer)


async def test_a_body_that_cannot_be_unpacked_is_a_bad_answer(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.answer_next(b"not packed", headers={"Content-Encoding": "gzip"})
    assert isinstance(await failure(embedder), BadAnswer)


async def test_a_redirect_is_not_followed(openai: FakeOpenAI, embedder: OpenAIEmbedder) -> None:
    openai.answer_next(b"", status=307, headers={"Location": f"{openai.url}/embeddings"})
    error = await failure(embedder)
    assert isinstance(error, BadAnswer)
    assert error.status == 307
    assert len(openai.requests) == 1


@pytest.mark.parametrize("spoil", ["nan", "infinite", "zeros", "short"])
async def test_a_vector_that_cannot_be_used_fails_its_text_alone(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, spoil: Spoil
) -> None:
    openai.spoils = {"b": spoil}
    results = await embed(embedder, ["a", "b", "c"])
    assert codes(results) == [None, "bad_vector", None]
    assert len(openai.requests) == 1


async def test_nan_written_into_json_costs_only_its_vector(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.answer_next(answer(entry(0, [1.0, float("nan")]), entry(1, [0.0, 1.0])))
    results = await embed(embedder, ["a", "b"])
    assert codes(results) == ["bad_vector", None]


async def test_a_server_that_knows_no_base64_is_understood(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.knows_base64 = False
    assert vectors(await embed(embedder, ["a"])) == [openai.vector(SMALL, "a").tolist()]


async def test_vectors_of_another_length_than_asked_for_are_a_bad_answer(
    openai: FakeOpenAI, connect: Connect
) -> None:
    openai.answer_next(answer(entry(0, [1.0, 0.0])))
    error = await failure(await connect(dimensions=4))
    assert isinstance(error, BadAnswer)
    assert "vectors of 2 dimensions" in error.reason


async def test_a_model_does_not_change_the_length_of_its_vectors(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    await embed(embedder, ["a"])
    await embed(embedder, ["a"], OTHER)
    openai.models[SMALL] = 32
    error = await failure(embedder, ["b"])
    assert isinstance(error, BadAnswer)
    assert "vectors of 32 dimensions" in error.reason


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7, "total_tokens": 8}, 7),
        ({"total_tokens": 8}, 8),
        ({"prompt_tokens": 0, "total_tokens": 0}, 10),
        ({"prompt_tokens": "7"}, 10),
        ({"prompt_tokens": -1}, 10),
        (None, 10),
        ([], 10),
    ],
)
async def test_usage_is_recorded_or_estimated(
    openai: FakeOpenAI, connect: Connect, usage: Any, tokens: int
) -> None:
    recorder = Recorder()
    embedder = await connect(guard=recorder)
    openai.answer_next(answer(entry(0), entry(1), usage=usage, model="small-2026"))
    results = await embed(embedder, ["aaaa", "aaaaaa"])
    (called,) = recorder.called
    assert called.used == Tokens(tokens)
    assert sum(result.tokens for result in results if isinstance(result, Embedding)) == tokens


async def test_every_request_that_is_sent_is_announced(
    openai: FakeOpenAI, connect: Connect
) -> None:
    recorder = Recorder()
    openai.refuses = {"worse"}
    embedder = await connect(guard=recorder)
    assert codes(await embed(embedder, ["good", "worse"])) == [None, "invalid_text"]
    assert [plan.texts for plan in recorder.plans] == [2, 1, 1]
    assert recorder.plans[0] == CallPlan(
        "openai", SMALL, "embedding", key_of(SMALL, ["good", "worse"]), Tokens(9), texts=2
    )
    assert len(openai.requests) == 3


async def test_what_lies_around_a_request_can_hold_it_back(
    openai: FakeOpenAI, connect: Connect
) -> None:
    recorder = Recorder(None, Unavailable("openai", "over the limit", 60))
    embedder = await connect(guard=recorder, max_inputs=2, concurrency=1)
    answered: list[int] = []

    async def run() -> None:
        async for group in embedder.embed(SMALL, ["a", "b", "c", "d", "e"]):
            answered.extend(answer.index for answer in group)

    with pytest.raises(Unavailable, match="over the limit"):
        await run()
    assert answered == [0, 1]
    assert openai.sent == [["a", "b"]]


async def test_requests_in_flight_are_answered_though_another_one_fails(
    openai: FakeOpenAI, connect: Connect
) -> None:
    embedder = await connect(max_inputs=1, concurrency=3)
    openai.delay_s = 0.05
    openai.fail_next(500)
    answered: list[int] = []

    async def run() -> None:
        async for group in embedder.embed(SMALL, [f"{number}" for number in range(9)]):
            answered.extend(answer.index for answer in group)

    with pytest.raises(Unavailable):
        await run()
    assert len(openai.requests) == 3
    assert len(answered) == 2


async def test_requests_in_flight_are_bounded_over_all_callers(
    openai: FakeOpenAI, connect: Connect
) -> None:
    embedder = await connect(max_inputs=1, concurrency=2)
    openai.delay_s = 0.01
    callers = [embed(embedder, [f"{n} {caller}" for n in range(4)]) for caller in range(3)]
    await asyncio.gather(*callers)
    assert (len(openai.requests), openai.max_in_flight) == (12, 2)


async def test_a_caller_that_leaves_early_leaves_no_request_behind(
    openai: FakeOpenAI, connect: Connect
) -> None:
    embedder = await connect(max_inputs=1, concurrency=3)
    openai.misbehave_next("stalls", "stalls")
    async with asyncio.timeout(2), aclosing(embedder.embed(SMALL, ["a", "b", "c"])) as groups:
        async for _ in groups:
            assert running_requests()
            break
    assert not running_requests()


def running_requests() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if "RemoteEmbedder" in repr(task.get_coro())]


def test_it_is_an_embedder() -> None:
    embedder: Embedder = build()
    assert (embedder.provider, embedder.is_mock) == ("openai", False)


def test_a_model_is_taken_at_its_name() -> None:
    embedder = build(default_model="m")
    assert [embedder.canonical_model(name) for name in (None, "a/b:c")] == ["m", "a/b:c"]
    for name in ("x" * 257, "a\nb"):
        with pytest.raises(InvalidTask) as raised:
            embedder.canonical_model(name)
        assert raised.value.code == "unsupported_model"


@pytest.mark.parametrize("key", ["", "with blank", "line\n", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_misconfigured(key: str) -> None:
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY") as raised:
        build(key)
    assert not key or key not in str(raised.value)


def test_an_address_that_is_none_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="OPENAI_BASE_URL"):
        build(url="api.openai.com/v1")


async def test_a_client_that_is_not_open_sends_nothing() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await build().call(SMALL, ["x"])


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"colour": "red"}, 400, "Unrecognized request argument supplied: colour"),
        ({"model": 7}, 400, "Invalid type for 'model'."),
        ({"input": None}, 400, "Invalid type for 'input'."),
        ({"input": []}, 400, "'$.input' is invalid."),
        ({"input": ["a", ""]}, 400, "'$.input' is invalid."),
        ({"input": ["a", 7]}, 400, "'$.input' is invalid."),
        ({"input": ["a"] * 2049}, 400, "'$.input' is invalid."),
        ({"input": "a " * 8193}, 400, "maximum context length is 8192 tokens"),
        ({"input": ["a " * 6000] * 51}, 400, "max 300000 tokens per request"),
        ({"dimensions": 0}, 400, "Invalid value for 'dimensions'"),
        ({"dimensions": True}, 400, "Invalid type for 'dimensions'."),
        ({"encoding_format": "hex"}, 400, "Invalid value for 'encoding_format'."),
        ({"model": "text-embedding-ada-002", "dimensions": 4}, 400, "not support specifying"),
        ({"model": "nope"}, 404, "does not exist"),
        ({"user": "u", "encoding_format": "float"}, 200, ""),
    ],
)
async def test_the_fake_is_strict(
    openai: FakeOpenAI, change: dict[str, Any], status: int, said: str
) -> None:
    body = {"model": SMALL, "input": ["a"], **change}
    headers = {"Authorization": f"Bearer {openai.api_key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{openai.url}/embeddings", json=body) as response,
    ):
        answered = orjson.loads(await response.read())
        assert response.status == status
    assert said in answered.get("error", {}).get("message", "")
    if status == 200:
        assert np.linalg.norm(answered["data"][0]["embedding"]) == pytest.approx(1, abs=1e-6)


async def test_a_text_that_is_refused_without_a_reason_fails_alone_where_others_pass(
    openai: FakeOpenAI, connect: Connect
) -> None:
    embedder = await connect(max_inputs=8)
    body = b'{"error":{"message":"violates our policy","param":"prompt","code":"content_filter"}}'
    texts = [f"text {n}" for n in range(8)]
    openai.refuses_quietly = {"text 5"}
    openai.quiet_refusal = body
    results = await embed(embedder, texts)
    assert codes(results) == [None] * 5 + ["refused_input"] + [None] * 2
    openai.requests.clear()
    assert codes(await embed(embedder, ["text 5"])) == ["refused_input"]
    assert openai.sent == [["text 5"], [PROBE_TEXTS[0]]]


async def test_a_servers_way_with_all_input_is_nobodys_own_fault(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.fail_next(*[422] * 50, body=b'{"detail":"input must be a string"}')
    for texts in (["one"], ["one", "two", "three"]):
        with pytest.raises(Refused, match="input must be a string"):
            await embed(embedder, texts)
    assert len(openai.requests) <= 10


@pytest.mark.parametrize(
    "said",
    ["input exceeds what our gateway likes", "payload too large", "texts are too long today"],
)
async def test_words_that_are_misread_charge_nobody(
    openai: FakeOpenAI, connect: Connect, said: str
) -> None:
    openai.fail_next(*[400] * 60, body=error_body(said))
    for mode in ("fail", "truncate"):
        embedder = await connect(long_text=mode)
        with pytest.raises(Refused, match=said):
            await embed(embedder, [f"text {number}" for number in range(20)])
    assert len(openai.requests) <= 30


TOO_MANY = [
    pytest.param(16, 400, error_body("'$.input' is invalid. Please check the API reference.")),
    pytest.param(10, 413, b"<html>413 Request Entity Too Large</html>"),
    pytest.param(
        32,
        422,
        b'{"error":"batch size 300 > maximum allowed batch size 32","error_type":"Validation"}',
    ),
    pytest.param(64, 400, b'{"detail":[{"msg":"list should have at most 64 items"}]}'),
    pytest.param(100, 400, error_body("exceeds the batch size")),
    pytest.param(16, 500, error_body("input array is too large")),
    pytest.param(1, 400, error_body("only a single input is supported")),
]


@pytest.mark.parametrize("concurrency", [1, 5])
@pytest.mark.parametrize(("limit", "status", "body"), TOO_MANY)
async def test_a_server_that_takes_fewer_texts_is_sent_fewer(
    openai: FakeOpenAI,
    connect: Connect,
    *,
    limit: int,
    status: int,
    body: bytes,
    concurrency: int,
) -> None:
    openai.max_inputs, openai.too_many, openai.delay_s = limit, (status, body), 0.001
    embedder = await connect(concurrency=concurrency)
    batches = [[f"text {batch} {number}" for number in range(300)] for batch in range(4)]
    for results in await asyncio.gather(*(embed(embedder, texts) for texts in batches)):
        assert codes(results) == [None] * 300
    min_requests = 4 * -(-300 // limit)
    assert len(openai.requests) <= 1.1 * min_requests + 20
    openai.requests.clear()
    results = await embed(embedder, [f"word {number}" for number in range(300)])
    assert codes(results) == [None] * 300
    assert len(openai.requests) == -(-300 // limit)
    assert openai.max_in_flight <= concurrency


async def test_two_hundred_batches_learn_once(openai: FakeOpenAI, connect: Connect) -> None:
    openai.max_inputs, openai.too_many = 16, (400, error_body("no"))
    embedder = await connect()
    for start in range(0, 200, 5):
        batches = [[f"{start + n} {number}" for number in range(32)] for n in range(5)]
        for results in await asyncio.gather(*(embed(embedder, texts) for texts in batches)):
            assert codes(results) == [None] * 32
    assert len(openai.requests) <= 400 + 20


async def test_bad_texts_among_too_many_fail_alone(openai: FakeOpenAI, connect: Connect) -> None:
    openai.max_inputs, openai.too_many = 16, (400, b"{}")
    openai.refuses_quietly = {"text 0", "text 77", "text 299"}
    embedder = await connect()
    results = await embed(embedder, [f"text {number}" for number in range(300)])
    bad = {number for number, code in enumerate(codes(results)) if code == "refused_input"}
    assert bad == {0, 77, 299}
    assert set(codes(results)) == {None, "refused_input"}
    assert len(openai.requests) <= 75


@pytest.mark.parametrize("indexes", ["none", "all_but_0"])
async def test_vectors_without_index_come_in_the_order_of_the_list(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, indexes: Any
) -> None:
    openai.indexes = indexes
    texts = [f"text {number}" for number in range(9)]
    results = await embed(embedder, texts)
    assert vectors(results) == [openai.vector(SMALL, text).tolist() for text in texts]
    assert len(openai.requests) == 1


async def test_the_index_0_that_is_left_out_is_found_in_any_order(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.indexes, openai.shuffles = "all_but_0", True
    texts = [f"text {number}" for number in range(9)]
    results = await embed(embedder, texts)
    assert vectors(results) == [openai.vector(SMALL, text).tolist() for text in texts]


async def test_one_vector_for_all_texts_is_not_taken_for_anybodys(
    openai: FakeOpenAI, connect: Connect
) -> None:
    openai.merges = True
    embedder = await connect()
    texts = [f"text {number}" for number in range(50)]
    results = await embed(embedder, texts)
    assert vectors(results) == [openai.vector(SMALL, text).tolist() for text in texts]
    assert len(openai.requests) == 51


async def test_a_text_without_a_vector_fails_alone(
    openai: FakeOpenAI, embedder: OpenAIEmbedder
) -> None:
    openai.answer_next(answer())
    (result,) = await embed(embedder, ["x"])
    assert isinstance(result, ComputeFailed)
    assert result.code == "bad_answer"
    openai.answer_next(answer())
    openai.answer_next(answer())
    assert isinstance(await failure(embedder), BadAnswer)


GEMINI = (
    b'{"error":{"code":404,"message":"models/x is not found for API version v1main, or is not '
    b'supported for embedContent. Call ListModels","status":"NOT_FOUND"}}'
)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        pytest.param(404, GEMINI, "model_not_found", id="Gemini"),
        pytest.param(404, b"[" + GEMINI + b"]", "model_not_found", id="Gemini, in a list"),
        pytest.param(
            404,
            b'{"error":"model \'x\' not found, try pulling it first"}',
            "model_not_found",
            id="Ollama",
        ),
        pytest.param(
            400,
            error_body("x is not a valid model ID"),
            "model_not_found",
            id="OpenRouter",
        ),
        pytest.param(
            404,
            b'{"object":"error","message":"The model `x` does not exist."}',
            "model_not_found",
            id="vLLM",
        ),
        pytest.param(
            500,
            b'{"error":{"code":500,"message":"input is too large to process. increase the '
            b'physical batch size","type":"server_error"}}',
            "input_too_long",
            id="llama.cpp",
        ),
        pytest.param(
            503, error_body("the prompt exceeds the context"), "input_too_long", id="exceeds"
        ),
        pytest.param(424, b'{"error":"text too long"}', "input_too_long", id="too long"),
        pytest.param(500, error_body("maximum context length is 512"), "input_too_long"),
        pytest.param(403, error_body("too large"), "input_too_long"),
        pytest.param(504, b'{"error":"context deadline exceeded"}', "unavailable", id="Go"),
        pytest.param(500, b'{"error":"model is too large for memory"}', "unavailable"),
        pytest.param(
            429,
            error_body("request exceeds tokens per minute", code="rate_limit_exceeded"),
            "unavailable",
        ),
        pytest.param(424, b'{"error":"backend is gone"}', "unavailable", id="424"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_servers_say_the_same_in_many_words(
    openai: FakeOpenAI,
    embedder: OpenAIEmbedder,
    *,
    status: int,
    body: bytes,
    code: str,
    is_late: bool,
) -> None:
    openai.answer_next(body, status=200 if is_late else status)
    error = await refusal(embedder)
    assert error.code == code
    assert not isinstance(error, BadAnswer)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": "no", "code": "invalid_api_key"}, Unauthorized, 401),
        ({"message": "no", "code": 429}, Unavailable, 429),
        ({"message": "no", "code": "402"}, QuotaExhausted, 402),
        ({"message": "no", "code": "insufficient_quota"}, QuotaExhausted, 429),
        ({"message": "no", "status": "RESOURCE_EXHAUSTED"}, Unavailable, 429),
        ({"message": "no", "type": "invalid_request_error"}, Refused, 400),
        ({"message": "no", "status": "UNAVAILABLE"}, Unavailable, 503),
        ({"message": "no"}, Unavailable, 502),
        ("no", Unavailable, 502),
    ],
)
async def test_an_error_behind_a_200_has_the_status_it_speaks_of(
    openai: FakeOpenAI, embedder: OpenAIEmbedder, error: Any, kind: type[AletheiaError], status: int
) -> None:
    openai.answer_next(orjson.dumps({"error": error}))
    raised = await refusal(embedder)
    assert type(raised) is kind
    assert getattr(raised, "status", None) == status


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"detail":"Not Found"}'),
        (404, b"404 page not found"),
        (405, b""),
        (200, b"<html>welcome</html>"),
        (200, b'{"error":"Unexpected endpoint or method. (POST /embeddings)"}'),
        (200, b'[{"index":0,"embedding":[[0.5]]}]'),
    ],
)
async def test_an_address_without_its_version_is_said_in_plain_words(
    openai: FakeOpenAI, connect: Connect, status: int, body: bytes
) -> None:
    address = openai.url.removesuffix("/v1")
    embedder = await connect(base_url=address)
    openai.answer_next(body, status=status)
    error = await failure(embedder, ["a", "b"])
    assert isinstance(error, Misconfigured)
    assert error.name == "OPENAI_BASE_URL"
    assert f"add its version, as in {address}/v1" in error.reason
    assert len(openai.requests) == 1


async def test_what_is_refused_in_all_texts_is_nobodys_own_fault(
    openai: FakeOpenAI, connect: Connect
) -> None:
    embedder = await connect()
    openai.fail_next(*[400] * 50, body=b'{"error":{"message":"no dimensions here"}}')
    with pytest.raises(Refused):
        await embed(embedder, [f"text {n}" for n in range(100)])
    assert len(openai.requests) <= 20
