import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeAlias

import numpy as np
import pytest

from aletheia.adapters.embedding.input_limits import InputLimits
from aletheia.adapters.embedding.remote import PROBE_TEXTS, EmbedderPlan
from aletheia.adapters.metering import key_of
from aletheia.adapters.ollama.client import OllamaClient
from aletheia.adapters.ollama.embedder import MAX_INPUTS, OllamaEmbedder
from aletheia.analysis.model_manager import PullProgress
from aletheia.analysis.ports import Embedder, Embedding, LongText
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    InvalidTask,
    Unauthorized,
    Unavailable,
)
from aletheia.llm.calls import CallPlan
from aletheia.llm.prices import Tokens
from tests.fakes.calls import Recorder
from tests.fakes.ollama import FakeOllama, Model, Spoil, serve_fake_ollama

NOMIC = "nomic-embed-text"

Connect: TypeAlias = Callable[..., Awaitable[OllamaEmbedder]]


@pytest.fixture
async def ollama() -> AsyncGenerator[FakeOllama]:
    async with serve_fake_ollama() as fake:
        fake.install(dimensions=16, context=150)
        yield fake


@pytest.fixture
async def connect(ollama: FakeOllama) -> AsyncGenerator[Connect]:
    async with AsyncExitStack() as closing:

        async def make(
            *, stall_s: float = 2, max_inputs: int = MAX_INPUTS, **options: Any
        ) -> OllamaEmbedder:
            client = OllamaClient(ollama.url, timeout_s=5)
            client.stall_s = stall_s
            supported = options.pop("supported_models", ())
            defaults: dict[str, Any] = {
                "default_model": NOMIC,
                "long_text": "truncate",
                "concurrency": 1,
            }
            plan = EmbedderPlan(**{**defaults, **options}, limits=InputLimits(max_inputs))
            embedder = OllamaEmbedder(client, plan, supported)
            await client.open()
            closing.push_async_callback(client.close)
            return embedder

        yield make


@pytest.fixture
async def embedder(connect: Connect) -> OllamaEmbedder:
    return await connect()


async def embed(
    embedder: OllamaEmbedder, texts: Sequence[str], model: str = NOMIC
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
    embedder: OllamaEmbedder, texts: Sequence[str] = ("x",), model: str = NOMIC
) -> AletheiaError:
    with pytest.raises(AletheiaError) as raised:
        await embed(embedder, texts, model)
    return raised.value


def codes(results: Sequence[Embedding | AletheiaError]) -> list[str | None]:
    return [result.code if isinstance(result, AletheiaError) else None for result in results]


def truncated(results: Sequence[Embedding | AletheiaError]) -> list[bool]:
    return [result.is_truncated for result in results if isinstance(result, Embedding)]


def test_it_is_an_embedder() -> None:
    embedder: Embedder = OllamaEmbedder(OllamaClient("http://localhost:11434"), EmbedderPlan(NOMIC))
    assert (embedder.provider, embedder.is_mock) == ("ollama", False)


async def test_equal_texts_are_sent_once_and_answered_alike(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    results = await embed(embedder, ["a b", "c", "a b"])
    assert ollama.sent == [["a b", "c"]]
    for result, text in zip(results, ["a b", "c", "a b"], strict=True):
        assert isinstance(result, Embedding)
        assert result.vector == pytest.approx(ollama.vector(NOMIC, text))
    assert truncated(results) == [False] * 3


@pytest.mark.parametrize(("texts", "requests"), [(128, [128]), (129, [128, 1])])
async def test_a_request_has_at_most_128_texts(
    ollama: FakeOllama, embedder: OllamaEmbedder, texts: int, requests: list[int]
) -> None:
    results = await embed(embedder, [f"{number}" for number in range(texts)])
    assert codes(results) == [None] * texts
    assert list(map(len, ollama.sent)) == requests


async def test_a_request_has_a_limit_of_tokens(ollama: FakeOllama, connect: Connect) -> None:
    embedder = await connect()
    embedder.max_tokens = 20
    await embed(embedder, ["x" * 8, "y" * 8, "z"])
    assert ollama.sent == [["x" * 8, "y" * 8], ["z"]]


async def test_no_more_requests_at_a_time_than_are_allowed(
    ollama: FakeOllama, connect: Connect
) -> None:
    embedder = await connect(max_inputs=1)
    ollama.delay_s = 0.005
    await asyncio.gather(*(embed(embedder, [f"{n} a", f"{n} b"]) for n in range(3)))
    assert (len(ollama.sent), ollama.max_in_flight) == (6, 1)


async def test_usage_is_recorded_or_estimated(ollama: FakeOllama, connect: Connect) -> None:
    recorder = Recorder()
    embedder = await connect(guard=recorder)
    results = await embed(embedder, ["a b c", "d"])
    assert [result.tokens for result in results if isinstance(result, Embedding)] == [3, 1]
    ollama.counts_tokens = False
    await embed(embedder, ["a b c", "d"])
    assert [call.used for call in recorder.called] == [Tokens(4), Tokens(10)]
    assert (
        recorder.plans
        == [
            CallPlan(
                "ollama", NOMIC, "embedding", key_of(NOMIC, ["a b c", "d"]), Tokens(10), texts=2
            )
        ]
        * 2
    )


@pytest.mark.parametrize(
    ("mode", "code", "requests"), [("fail", "input_too_long", 1), ("truncate", None, 2)]
)
async def test_a_text_with_more_words_than_the_model_reads_tokens_is_surely_too_long(
    ollama: FakeOllama, connect: Connect, mode: LongText, code: str | None, requests: int
) -> None:
    long = " ".join(["rain"] * 151)
    results = await embed(await connect(long_text=mode), ["short", long, "too"])
    assert codes(results) == [None, code, None]
    assert len(ollama.sent) == requests
    assert ollama.sent[0] == ["short", "too"]
    if mode == "truncate":
        assert truncated(results) == [False, True, False]
        assert [request.body["truncate"] for request in ollama.requests[-2:]] == [False, True]
        long_result = results[1]
        assert isinstance(long_result, Embedding)
        read = " ".join(["rain"] * 150)
        assert long_result.vector == pytest.approx(ollama.vector(NOMIC, read))
        assert long_result.tokens == 150


async def test_a_text_that_even_truncating_does_not_help_is_too_long(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    ollama.ignores_truncate = True
    ollama.count_tokens = lambda text: 999 if text == "x" else 1
    assert codes(await embed(embedder, ["x"])) == ["input_too_long"]
    assert ollama.sent == [["x"], [PROBE_TEXTS[0]], ["x"]]


async def test_a_server_that_ignores_truncate_is_sent_what_it_reads(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    ollama.ignores_truncate = True
    texts = [f"rain {number} " * 300 for number in range(40)]
    results = await embed(embedder, ["short", *texts])
    assert truncated(results) == [False, *[True] * 40]
    assert [len(sent) for sent in ollama.sent] == [1, 40, 40]
    assert all(len(text.split()) == 100 for text in ollama.sent[-1])
    await embed(embedder, [f"snow {number} " * 300 for number in range(40)])
    assert len(ollama.sent) == 4


@pytest.mark.parametrize("text", ["雨" * 400, "a-b-c " * 100, "rain " * 151])
async def test_a_text_of_more_tokens_than_words_is_cut_in_few_tries(
    ollama: FakeOllama, embedder: OllamaEmbedder, text: str
) -> None:
    ollama.ignores_truncate = True
    ollama.count_tokens = len
    (result, short) = await embed(embedder, [text, "x"])
    assert isinstance(result, Embedding)
    assert isinstance(short, Embedding)
    assert (result.is_truncated, short.is_truncated) == (True, False)
    assert len(ollama.sent) <= 10


async def test_an_error_behind_a_200_is_an_error(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    for said, code in (
        ("model 'x' not found", "model_not_found"),
        ("input exceeds maximum context length", "input_too_long"),
        ("EOF", "unavailable"),
    ):
        ollama.answer_next(f'{{"error": "{said}"}}'.encode(), on="embed")
        with pytest.raises(AletheiaError) as raised:
            await embedder.call(NOMIC, ["x"])
        assert raised.value.code == code


async def test_too_many_texts_are_halved_until_they_pass(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    ollama.max_inputs = 16
    results = await embed(embedder, [f"text {number}" for number in range(200)])
    assert codes(results) == [None] * 200
    assert len(ollama.sent) <= 24


async def test_what_a_missing_model_reads_is_known_once_it_is_there(
    ollama: FakeOllama, connect: Connect
) -> None:
    ollama.registry[NOMIC] = ollama.models.pop(NOMIC)
    embedder = await connect(long_text="fail")
    assert codes(await embed(embedder, ["rain " * 151])) == ["input_too_long"]
    assert (ollama.count("pull"), ollama.count("embed")) == (1, 0)


async def test_a_text_that_just_fits_is_not_truncated(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    results = await embed(embedder, [" ".join(["rain"] * 150)])
    assert truncated(results) == [False]
    assert len(ollama.sent) == 1


@pytest.mark.parametrize("mode", ["fail", "truncate", "chunk"])
async def test_a_text_that_turns_out_too_long_is_found_among_others(
    ollama: FakeOllama, connect: Connect, mode: LongText
) -> None:
    ollama.install(dimensions=16, context=100)
    texts = [f"text {number}" for number in range(20)]
    long = " ".join(["rain"] * 120)
    results = await embed(await connect(long_text=mode), [*texts, long])
    assert codes(results[:-1]) == [None] * 20
    assert not any(truncated(results[:-1]))
    if mode == "fail":
        assert codes(results[-1:]) == ["input_too_long"]
    else:
        last = results[-1]
        assert isinstance(last, Embedding)
        assert last.is_truncated == (mode == "truncate")
        assert last.tokens == (100 if mode == "truncate" else 120)
        assert np.linalg.norm(last.vector) == pytest.approx(1, abs=1e-6)
    assert ollama.count("show") == 0
    assert len(ollama.sent) <= 12


async def test_a_long_text_in_windows_is_their_weighted_mean(
    ollama: FakeOllama, connect: Connect
) -> None:
    long = " ".join(f"w{number}" for number in range(400))
    (result,) = await embed(await connect(long_text="chunk"), [long])
    assert isinstance(result, Embedding)
    assert (result.is_truncated, result.tokens) == (False, 400)
    (windows,) = ollama.sent
    assert " ".join(windows).split() == long.split()
    assert all(len(window.split()) <= 100 for window in windows)
    mean = np.average(
        [ollama.vector(NOMIC, window).astype(float) for window in windows],
        axis=0,
        weights=list(map(len, windows)),
    )
    assert result.vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


async def test_texts_that_nobody_can_embed_are_not_sent(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    results = await embed(embedder, ["", "a\ud800", "x" * (2**20 + 1)])
    assert codes(results) == ["empty_text", "invalid_text", "input_too_long"]
    assert ollama.requests == []


@pytest.mark.parametrize("spoil", ["nan", "nan_500", "zeros", "short"])
async def test_a_vector_that_cannot_be_used_fails_its_text_alone(
    ollama: FakeOllama, embedder: OllamaEmbedder, spoil: Spoil
) -> None:
    ollama.spoils = {"b": spoil}
    results = await embed(embedder, ["a", "b", "c"])
    assert codes(results) == [None, "bad_vector", None]


async def test_vectors_of_another_length_than_asked_for_are_a_bad_answer(
    ollama: FakeOllama, connect: Connect
) -> None:
    embedder = await connect(dimensions=32)
    assert isinstance(await failure(embedder), BadAnswer)
    assert ollama.requests[-1].body["dimensions"] == 32


@pytest.mark.parametrize(
    ("asked", "canonical"),
    [
        (None, NOMIC),
        (NOMIC, NOMIC),
        (f"{NOMIC}:latest", NOMIC),
        (f" {NOMIC.upper()} ", NOMIC),
        ("all-minilm", "all-minilm"),
        ("mxbai-embed-large:335m", "mxbai-embed-large:335m"),
    ],
)
async def test_a_supported_model_has_one_name(
    connect: Connect, asked: str | None, canonical: str
) -> None:
    supported = ["all-minilm:latest", "mxbai-embed-large:335m"]
    embedder = await connect(default_model=f"{NOMIC}:latest", supported_models=supported)
    assert embedder.canonical_model(asked) == canonical


async def test_a_model_that_is_not_supported_is_not_asked_for(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    ollama.install("llama3")
    for model in ("llama3", f"{NOMIC}:v1.5"):
        with pytest.raises(InvalidTask) as raised:
            embedder.canonical_model(model)
        assert raised.value.code == "unsupported_model"
    assert (await failure(embedder, model="llama3")).code == "unsupported_model"
    assert ollama.requests == []


async def test_a_model_that_gives_no_embeddings_is_the_tasks_fault(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    ollama.install(gives_embeddings=False)
    error = await failure(embedder, ["a", "b"])
    assert isinstance(error, InvalidTask)
    assert error.code == "unsupported_model"
    assert len(ollama.sent) == 1


@pytest.mark.parametrize("text", ["short", " ".join(["long"] * 149)])
async def test_a_supported_model_that_is_missing_is_downloaded_once(
    ollama: FakeOllama, connect: Connect, text: str
) -> None:
    ollama.models.clear()
    ollama.registry[NOMIC] = Model(dimensions=16, context=150)
    embedder = await connect(max_inputs=1, concurrency=3)
    results = await embed(embedder, [text, f"{text} 2", f"{text} 3"])
    assert codes(results) == [None, None, None]
    assert ollama.count("pull") == 1
    assert len({text for texts in ollama.sent for text in texts}) == 3


async def test_a_model_that_was_removed_meanwhile_is_downloaded_again(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    assert codes(await embed(embedder, ["a"])) == [None]
    ollama.registry[NOMIC] = ollama.models.pop(NOMIC)
    assert codes(await embed(embedder, ["b"])) == [None]
    assert ollama.count("pull") == 1


@pytest.mark.parametrize("text", ["short", " ".join(["long"] * 149)])
async def test_a_model_that_cannot_be_had_is_the_tasks_fault(
    ollama: FakeOllama, connect: Connect, text: str
) -> None:
    embedder = await connect(supported_models=["no-such-model"])
    error = await failure(embedder, [text], "no-such-model")
    assert isinstance(error, InvalidTask)
    assert error.code == "model_not_found"
    assert ollama.count("pull") == 1


@pytest.mark.parametrize("fault", ["stalls", "dies", "fails"])
async def test_a_download_that_fails_makes_the_texts_wait_and_goes_on_later(
    ollama: FakeOllama, connect: Connect, fault: Any
) -> None:
    ollama.models.clear()
    ollama.pull_fault = fault
    embedder = await connect(stall_s=0.15)
    error = await failure(embedder)
    assert isinstance(error, Unavailable)
    assert "500 of 700 bytes" in error.reason
    assert codes(await embed(embedder, ["x"])) == [None]
    assert sum(ollama.partial.values()) == 1000


async def test_missing_models_are_downloaded_before_there_is_work(
    ollama: FakeOllama, connect: Connect
) -> None:
    ollama.registry |= {"all-minilm": Model(layers=[100])}
    embedder = await connect(supported_models=["no-such-model", "all-minilm"])
    progress: list[PullProgress] = []
    with pytest.raises(InvalidTask, match="no-such-model"):
        async for pull in embedder.pull_missing():
            progress.append(pull)  # noqa: PERF401 - the generator is closed in between
    assert sorted(ollama.models) == ["all-minilm", NOMIC]
    assert {pull.model for pull in progress} == {"no-such-model", "all-minilm"}
    assert (progress[-1].status, progress[-1].completed_bytes) == ("success", 100)
    assert ollama.count("pull") == 2


async def test_nothing_is_downloaded_that_is_there(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    assert [pull async for pull in embedder.pull_missing()] == []
    assert ollama.count("pull") == 0


@pytest.mark.parametrize("text", ["short", " ".join(["long"] * 149)])
@pytest.mark.parametrize("status", [500, 503])
async def test_an_outage_is_seen_by_what_lies_around_the_request(
    ollama: FakeOllama, connect: Connect, text: str, status: int
) -> None:
    recorder = Recorder()
    embedder = await connect(guard=recorder)
    ollama.fail_next(status, on="show")
    ollama.fail_next(status, on="embed", retry_after=4)
    error = await failure(embedder, [text])
    assert isinstance(error, Unavailable)
    assert (error.status, error.retry_after_s) == (status, 4)
    assert (len(recorder.plans), ollama.count("embed")) == (1, 1)


async def test_a_gateway_that_refuses_us_is_no_fault_of_a_text(
    ollama: FakeOllama, embedder: OllamaEmbedder
) -> None:
    ollama.fail_next(401)
    error = await failure(embedder, ["a", "b"])
    assert isinstance(error, Unauthorized)
    assert ollama.count("embed") == 1
