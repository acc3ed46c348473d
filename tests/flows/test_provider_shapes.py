"""Servers that answer right in another shape, or refuse what others take, through whole shifts."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aletheia.errors import BreakerOpen, Misconfigured, Unavailable
from aletheia.resilience.breaker import CircuitBreaker, State
from blocks import OpenAICredentials, StoreCredentials
from flows.poll import poll_tasks
from tests.fakes.ollama import FakeOllama, serve_fake_ollama
from tests.fakes.openai import FakeOpenAI, error_body, serve_fake_openai
from tests.fakes.upstream import FakeUpstream

DONE = ["processing", "succeeded"]


@pytest.fixture
async def openai(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[FakeOpenAI]:
    del upstream
    for name in ("MINUTE", "HOUR", "DAY", "WEEK", "MONTH"):
        monkeypatch.setenv(f"RATE_LIMIT_PER_{name}", "10000")
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    monkeypatch.setenv("MAX_RETRIES", "3")
    async with serve_fake_openai() as fake:
        account = OpenAICredentials(api_key=fake.api_key, base_url=fake.url)  # pyright: ignore[reportArgumentType] - pydantic makes it a secret
        await account.asave("default", overwrite=True)
        yield fake


def errors_of(upstream: FakeUpstream) -> dict[str, str]:
    """Read the codes that were reported, by task."""
    bodies = {task_id: json.loads(bodies[-1]) for task_id, bodies in upstream.bodies.items()}
    return {id_: body["error"]["code"] for id_, body in bodies.items() if "error" in body}


async def breaker_states(directory: Path) -> dict[str, State]:
    documents = StoreCredentials(data_dir=directory).get_client()
    await documents.open()
    try:
        breakers = CircuitBreaker(documents, threshold=5, cooldown_s=60)
        return {found.dependency: found.state for found in await breakers.states()}
    finally:
        await documents.close()


async def test_a_server_that_takes_16_texts_a_request_is_asked_in_sixteens(
    upstream: FakeUpstream, openai: FakeOpenAI
):
    openai.max_inputs, openai.too_many = 16, (413, error_body("that is more than we like"))
    for number in range(300):
        upstream.add(f"t{number}", f"text {number}")
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.succeeded, report.tally.failed) == (300, 0)
    assert len(openai.requests) <= 300 // 16 + 18
    before = len(openai.requests)
    for number in range(320):
        upstream.add(f"u{number}", f"word {number}")
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.succeeded, report.tally.failed) == (320, 0)
    assert max(map(len, openai.sent[before:])) <= 16
    assert len(openai.requests) - before <= 22


async def test_right_answers_in_another_shape_are_taken_and_paid_once(
    upstream: FakeUpstream, openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RESULT_CACHE_TTL", "0")
    openai.counts_usage = False
    for indexes in ("none", "all_but_0"):
        openai.indexes = indexes
        for number in range(20):
            upstream.add(f"{indexes}{number}", f"text {number}")
        report = await poll_tasks(shift_seconds=0)
        assert (report.tally.succeeded, report.tally.failed) == (20, 0)
    assert len(openai.requests) == 2
    openai.indexes, openai.merges = "all", True
    for number in range(20):
        upstream.add(f"one{number}", f"text {number}")
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.succeeded, report.tally.failed) == (20, 0)
    assert len(openai.requests) == 2 + 1 + 20


async def test_an_error_behind_a_200_means_what_it_means_with_its_status(
    upstream: FakeUpstream, openai: FakeOpenAI
):
    openai.errors_are_late = True
    openai.max_text_tokens = 8
    upstream.add("good", "text")
    upstream.add("long", "word " * 9)
    upstream.add("unknown", data={"text": "text", "model": "no-such-model"})
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.succeeded, report.tally.failed) == (1, 2)
    assert errors_of(upstream) == {"long": "input_too_long", "unknown": "model_not_found"}


async def test_an_address_without_its_version_is_a_setting_and_no_tasks_fault(
    upstream: FakeUpstream, openai: FakeOpenAI
):
    address = openai.url.removesuffix("/v1")
    account = OpenAICredentials(api_key=openai.api_key, base_url=address)  # pyright: ignore[reportArgumentType] - pydantic makes it a secret
    await account.asave("default", overwrite=True)
    for number in range(5):
        upstream.add(f"t{number}", f"text {number}")
    with pytest.raises(Misconfigured, match=rf"OPENAI_BASE_URL.*add its version.*{address}/v1"):
        await poll_tasks(shift_seconds=0)
    assert errors_of(upstream) == {}
    assert len(openai.requests) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "unexpected end of file"),
        (424, "Model backend failed: NaN"),
        (0, "it hangs up"),
        (200, "<html>blocked</html>"),
        (403, "<html>blocked</html>"),
    ],
)
async def test_a_text_that_a_server_fails_at_fails_alone(
    upstream: FakeUpstream, openai: FakeOpenAI, tmp_path: Path, *, status: int, said: str
):
    openai.cannot = {"poison": (status, said)}
    for number in range(60):
        upstream.add(f"t{number}", f"text {number}")
    upstream.add("bad", "poison")
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.succeeded, report.tally.failed) == (60, 1)
    assert errors_of(upstream) == {"bad": "provider_cannot"}
    assert set((await breaker_states(tmp_path)).values()) <= {State.CLOSED}


async def test_a_text_that_is_too_large_in_a_servers_own_words_is_too_long(
    upstream: FakeUpstream, openai: FakeOpenAI
):
    said = "input is too large to process. increase the physical batch size"
    openai.cannot = {"large": (500, said)}
    for number in range(10):
        upstream.add(f"t{number}", f"text {number}")
    upstream.add("bad", "large")
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.succeeded, report.tally.failed) == (10, 1)
    assert errors_of(upstream) == {"bad": "input_too_long"}


async def test_an_outage_opens_the_breaker_and_charges_nobody(
    upstream: FakeUpstream,
    openai: FakeOpenAI,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("EMBEDDING_MAX_INPUTS", "5")
    openai.fail_next(*[500] * 1000)
    for number in range(20):
        upstream.add(f"t{number}", f"text {number}")
    with pytest.raises((Unavailable, BreakerOpen)):
        await poll_tasks(shift_seconds=0)
    assert (await breaker_states(tmp_path))["openai"] is State.OPEN
    assert set(map(tuple, upstream.states.values())) == {("processing",)}


@pytest.fixture
async def ollama(openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FakeOllama]:
    del openai
    async with serve_fake_ollama() as fake:
        fake.install(dimensions=16, context=150)
        monkeypatch.setenv("PROCESSING_MODE", "ollama")
        monkeypatch.setenv("OLLAMA_BASE_URL", fake.url)
        yield fake


async def test_an_ollama_that_does_not_truncate_is_sent_shorter_texts(
    upstream: FakeUpstream, ollama: FakeOllama
):
    ollama.ignores_truncate = True
    for number in range(30):
        upstream.add(f"t{number}", f"rain {number} " * (200 if number % 2 else 2))
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.succeeded, report.tally.failed) == (30, 0)
    bodies = {id_: json.loads(bodies[-1])["result"] for id_, bodies in upstream.bodies.items()}
    assert {id_ for id_, result in bodies.items() if result.get("truncated")} == {
        f"t{number}" for number in range(1, 30, 2)
    }
    assert len(ollama.sent) <= 6
