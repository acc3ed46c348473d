"""Requests that go wrong because of one text, through the embedder and its meter."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import ceil, log2
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.embedding.input_limits import InputLimits
from aletheia.adapters.embedding.remote import EmbedderPlan, pack
from aletheia.adapters.metering import Meter
from aletheia.adapters.openai.embedder import OpenAIEmbedder
from aletheia.adapters.openai.wire import Api
from aletheia.analysis.ports import Embedding
from aletheia.errors import AletheiaError, BadAnswer, BreakerOpen, TimedOut, Unauthorized
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import CircuitBreaker, State
from aletheia.resilience.limits import RateLimiter
from tests.aletheia.llm.spenders import PRICES
from tests.fakes.openai import HANGS, FakeOpenAI, serve_fake_openai
from tests.fakes.usage import budget_limits

MODEL = "m"
TEXTS = [f"text {number}" for number in range(100)]
MAX_CALLS = 2 * ceil(log2(len(TEXTS))) + 3


class Metered:
    """A server, and an embedder that reaches it through its meter."""

    def __init__(self, openai: FakeOpenAI, documents: EmbeddedDocuments, **options: Any) -> None:
        self.openai = openai
        self.breakers = CircuitBreaker(documents, threshold=3, cooldown_s=60)
        spending = Spending(documents, PriceTable(PRICES), budget_limits(), clock=time.time)
        meter = Meter(RateLimiter(documents, None), self.breakers, spending, retry_base_s=0)
        self.api = Api("openai", openai.api_key, openai.url, timeout_s=options.pop("timeout_s", 5))
        plan = EmbedderPlan(MODEL, guard=meter, limits=InputLimits(2048), **options)
        self.embedder = OpenAIEmbedder(self.api, plan)

    async def embed(self, texts: list[str] = TEXTS) -> dict[str, str]:
        """Embed texts, check the vectors, and return the codes of those that got none."""
        codes: dict[str, str] = {}
        answered: set[int] = set()
        await self.embedder.open()
        try:
            async with aclosing(self.embedder.embed(MODEL, texts)) as groups:
                async for group in groups:
                    for index, result in ((answer.index, answer.result) for answer in group):
                        answered.add(index)
                        if isinstance(result, Embedding):
                            right = self.openai.vector(MODEL, texts[index])
                            assert result.vector.tolist() == right.tolist()
                        else:
                            codes[texts[index]] = result.code
        finally:
            await self.embedder.close()
        assert answered == set(range(len(texts)))
        return codes

    async def fail(self) -> AletheiaError:
        """Embed texts, and return what that ends with."""
        with pytest.raises(AletheiaError) as raised:
            await self.embed()
        return raised.value

    async def is_closed(self) -> bool:
        """Check that no breaker is open."""
        return {found.state for found in await self.breakers.states()} <= {State.CLOSED}


@pytest.fixture
async def openai() -> AsyncGenerator[FakeOpenAI]:
    async with serve_fake_openai() as fake:
        fake.models = {MODEL: 4}
        yield fake


@pytest.mark.parametrize("place", [0, 63, 99])
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(200, "<html>blocked</html>", id="web page"),
        pytest.param(200, "", id="empty"),
        pytest.param(200, '{"data": [', id="cut"),
        pytest.param(302, "", id="redirect"),
    ],
)
async def test_a_text_that_spoils_the_answer_of_its_request_fails_alone(
    openai: FakeOpenAI,
    documents: EmbeddedDocuments,
    *,
    status: int,
    body: str,
    concurrency: int,
    place: int,
):
    openai.cannot = {TEXTS[place]: (status, body)}
    metered = Metered(openai, documents, concurrency=concurrency)
    assert await metered.embed() == {TEXTS[place]: "provider_cannot"}
    assert len(openai.requests) <= MAX_CALLS
    assert await metered.is_closed()


async def test_a_text_that_spoils_its_answer_fails_when_it_is_alone_from_the_first(
    openai: FakeOpenAI, documents: EmbeddedDocuments
):
    openai.cannot = {"bad": (200, "<html>blocked</html>")}
    assert await Metered(openai, documents).embed(["bad"]) == {"bad": "provider_cannot"}
    assert len(openai.requests) == 3


@pytest.mark.parametrize("status", [403, 404, 406, 409, 410, 415, 418, 431, 451])
async def test_a_text_that_is_filtered_out_fails_alone(
    openai: FakeOpenAI, documents: EmbeddedDocuments, status: int
):
    openai.cannot = {TEXTS[5]: (status, "<html>blocked</html>")}
    assert await Metered(openai, documents).embed() == {TEXTS[5]: "provider_cannot"}
    assert len(openai.requests) <= 30


async def test_a_lock_out_is_no_texts_fault(openai: FakeOpenAI, documents: EmbeddedDocuments):
    openai.fail_next(*[403] * 20)
    assert isinstance(await Metered(openai, documents).fail(), Unauthorized)
    assert len(openai.requests) == 2


async def test_a_text_that_a_server_hangs_on_fails_alone_and_opens_no_breaker(
    openai: FakeOpenAI, documents: EmbeddedDocuments
):
    openai.cannot = {TEXTS[5]: (HANGS, "")}
    metered = Metered(openai, documents, timeout_s=0.3)
    assert await metered.embed(TEXTS[:8]) == {TEXTS[5]: "provider_cannot"}
    assert len(openai.requests) <= 12
    assert await metered.is_closed()


async def test_a_server_that_hangs_on_everything_opens_the_breaker(
    openai: FakeOpenAI, documents: EmbeddedDocuments
):
    for _ in range(20):
        openai.misbehave_next("stalls")
    metered = Metered(openai, documents, timeout_s=0.3)
    assert isinstance(await metered.fail(), BreakerOpen | TimedOut)


async def test_answers_that_are_all_bad_are_no_texts_fault(
    openai: FakeOpenAI, documents: EmbeddedDocuments
):
    openai.fail_next(*[200] * 50, body=b"<html>maintenance</html>")
    assert isinstance(await Metered(openai, documents).fail(), BadAnswer)
    assert len(openai.requests) == 3


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"embedding": None}, id="null"),
        pytest.param({}, id="missing"),
        pytest.param({"error": {"message": "cannot embed"}}, id="an error"),
        pytest.param({"embedding": "%%%"}, id="broken"),
    ],
)
async def test_only_what_lacks_a_vector_is_asked_for_again(
    openai: FakeOpenAI, documents: EmbeddedDocuments, entry: dict[str, Any]
):
    openai.lacks = {"text 41": entry}
    assert await Metered(openai, documents).embed() == {"text 41": "provider_cannot"}
    assert openai.sent == [TEXTS, ["text 41"]]


async def test_a_vector_that_comes_the_second_time_is_taken(
    openai: FakeOpenAI, documents: EmbeddedDocuments
):
    openai.lacks = {text: {"embedding": None} for text in TEXTS[40:43]}
    metered = Metered(openai, documents, concurrency=1)
    send = metered.embedder.call

    async def call(model: str, texts: Any) -> Any:
        called = await send(model, texts)
        openai.lacks = {}
        return called

    metered.embedder.call = call
    assert await metered.embed() == {}
    assert openai.sent == [TEXTS, TEXTS[40:43]]


@pytest.mark.parametrize(
    ("tokens", "groups"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([10], [[0]], id="exactly the tokens of a request"),
        pytest.param([11], [[0]], id="one text that has more on its own"),
        pytest.param([11, 1], [[0], [1]], id="such a text stays alone"),
        pytest.param([4, 6, 1], [[0, 1], [2]], id="one token over"),
        pytest.param([1, 1, 1], [[0, 1, 2]], id="exactly the texts of a request"),
        pytest.param([1, 1, 1, 1], [[0, 1, 2], [3]], id="one text over"),
        pytest.param([0, 0, 0, 0], [[0, 1, 2], [3]], id="texts without tokens"),
        pytest.param([6, 6, 4, 6], [[0], [1, 2], [3]], id="in order"),
    ],
)
def test_requests_are_filled_up_to_their_limits(tokens: list[int], groups: list[list[int]]) -> None:
    assert pack(tokens, max_inputs=3, max_tokens=10) == groups
