"""Every mode passes the same test over HTTP; what is special about each comes after it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aletheia.errors import AletheiaError, Misconfigured, Unauthorized, Unavailable
from aletheia.intake.ledger import Ledger
from aletheia.intake.rows import ROWS
from blocks import OpenAICredentials, StoreCredentials
from flows.poll import poll_tasks
from tests.fakes.ollama import FakeOllama, Model, serve_fake_ollama
from tests.fakes.openai import FakeOpenAI, serve_fake_openai
from tests.fakes.upstream import FakeUpstream
from tests.flows.conftest import artifacts, last_run

DONE = ["processing", "succeeded"]
MODES = ["local", "openai", "ollama", "hybrid", "mock"]


@dataclass
class Providers:
    """The protocol fakes that stand for the providers."""

    openai: FakeOpenAI
    ollama: FakeOllama


@pytest.fixture
async def providers(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Providers]:
    del upstream
    async with serve_fake_openai() as openai, serve_fake_ollama() as ollama:
        ollama.install()
        monkeypatch.setenv("OLLAMA_BASE_URL", ollama.url)
        monkeypatch.setenv("MAX_RETRIES", "0")
        account = OpenAICredentials(api_key=openai.api_key, base_url=openai.url)  # pyright: ignore[reportArgumentType] - pydantic makes it a secret
        await account.asave("default", overwrite=True)
        yield Providers(openai, ollama)


def results(upstream: FakeUpstream) -> dict[str, dict[str, Any]]:
    """Read the results that were reported."""
    bodies = {task_id: json.loads(bodies[-1]) for task_id, bodies in upstream.bodies.items()}
    return {task_id: body["result"] for task_id, body in bodies.items() if "result" in body}


@pytest.mark.parametrize("mode", MODES)
async def test_every_mode_does_the_same_work(
    upstream: FakeUpstream,
    providers: Providers,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
):
    del providers
    monkeypatch.setenv("PROCESSING_MODE", mode)
    for number in range(12):
        upstream.add(f"t{number}", f"text number {number % 10}")
    upstream.add("empty", "")
    upstream.add("odd", type="no_such_type")
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.succeeded, report.tally.failed) == (12, 2)
    assert report.tally.by_error == {"empty_text": 1, "unknown_type": 1}
    assert upstream.states == {
        **{f"t{number}": DONE for number in range(12)},
        "empty": ["failed"],
        "odd": ["failed"],
    }
    made = results(upstream)
    assert made["t0"]["embedding"] == made["t10"]["embedding"] != made["t1"]["embedding"]
    expected = {"hybrid": "ollama"}.get(mode, mode)
    for result in made.values():
        assert result["provider"] == expected
        assert len(result["embedding"]) == result["dimensions"]
        assert result.get("mock", False) is (mode == "mock")
    usage = json.loads(upstream.bodies["t0"][-1])["usage"]
    assert usage["tokens"] > 0


async def test_many_texts_are_one_call(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    for number in range(300):
        upstream.add(f"t{number}", f"text {number}")
    report = await poll_tasks(shift_seconds=0)
    assert report.tally.succeeded == 300
    assert [len(sent) for sent in providers.openai.sent] == [300]


async def test_the_placeholder_is_the_mock_in_openai_mode_and_production_refuses_it(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    account = OpenAICredentials(
        api_key="your_openai_api_key_here",  # pyright: ignore[reportArgumentType] - pydantic makes it a secret
        base_url=providers.openai.url,
    )
    await account.asave("default", overwrite=True)
    upstream.add("t1")
    await poll_tasks(shift_seconds=0)
    assert results(upstream)["t1"]["mock"] is True
    assert providers.openai.requests == []
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY"):
        await poll_tasks(shift_seconds=0)


async def test_without_a_key_openai_is_not_tried(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    await OpenAICredentials(base_url=providers.openai.url).asave("default", overwrite=True)
    upstream.add("t1")
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY"):
        await poll_tasks(shift_seconds=0)
    assert upstream.states == {}


async def test_a_wrong_key_fails_the_run_and_no_task(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    providers.openai.api_key = "sk-another"
    upstream.add("t1")
    with pytest.raises(Unauthorized):
        await poll_tasks(shift_seconds=0)
    assert upstream.states == {"t1": ["processing"]}
    assert (await ledger.overview()).states == {"waiting": 1}


async def test_hybrid_falls_back_while_ollama_is_down_and_says_so(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
):
    monkeypatch.setenv("PROCESSING_MODE", "hybrid")
    await providers.ollama.stop()
    upstream.add("any", "one")
    upstream.add("named", data={"text": "two", "model": "nomic-embed-text"})
    with pytest.raises(Unavailable, match="ollama"):
        await poll_tasks(shift_seconds=0)
    assert results(upstream)["any"]["model"] == "text-embedding-3-small"
    assert results(upstream)["any"]["provider"] == "openai"
    assert upstream.states["named"] == ["processing"]
    states = (await ledger.overview()).states
    assert states == {"reported": 1, "waiting": 1}
    run = await last_run("poll_tasks")
    (table,) = await artifacts("shift-report", run.id)
    rows = {row["what"]: row["tasks"] for row in json.loads(str(table.data))}
    assert rows["fallbacks"] == rows["made by openai: text-embedding-3-small"] == 1


async def test_a_mapped_model_stands_in_for_one_that_is_named(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "hybrid")
    monkeypatch.setenv("HYBRID_MODEL_MAP", '{"nomic-embed-text":"text-embedding-3-large"}')
    await providers.ollama.stop()
    upstream.add("named", data={"text": "two", "model": "nomic-embed-text:latest"})
    await poll_tasks(shift_seconds=0)
    result = results(upstream)["named"]
    assert (result["model"], result["dimensions"]) == ("text-embedding-3-large", 3072)


async def test_hybrid_with_the_placeholder_has_no_second_leg(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "hybrid")
    await OpenAICredentials(api_key="your_openai_api_key_here").asave("default", overwrite=True)  # pyright: ignore[reportArgumentType] - pydantic makes it a secret
    await providers.ollama.stop()
    upstream.add("any", "one")
    with pytest.raises(Unavailable):
        await poll_tasks(shift_seconds=0)
    assert results(upstream) == {}


async def test_missing_models_are_pulled_at_the_start(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "ollama")
    monkeypatch.setenv("SUPPORTED_MODELS", '["all-minilm"]')
    providers.ollama.registry["all-minilm"] = Model(layers=[100])
    upstream.add("t1", data={"text": "one", "model": "all-minilm"})
    await poll_tasks(shift_seconds=0)
    assert upstream.states == {"t1": DONE}
    assert providers.ollama.count("pull") == 1


async def test_over_its_limit_work_stays_pending_and_the_run_says_when(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    monkeypatch.setenv("RATE_LIMIT_PER_MINUTE", "1")
    upstream.add("t1", "one")
    await poll_tasks(shift_seconds=0)
    upstream.add("t2", "two")
    report = await poll_tasks(shift_seconds=0)
    assert upstream.states == {"t1": DONE}
    assert "over its limit" in report.tally.deferred["text-embedding-3-small"]
    assert len(providers.openai.requests) == 1


async def test_over_its_budget_work_stays_pending_and_the_run_says_why(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    monkeypatch.setenv("BUDGET_TOKENS_PER_DAY", "20")
    upstream.add("short", "ten bytes!")
    upstream.add("long", "x" * 25)
    report = await poll_tasks(shift_seconds=0)
    assert upstream.states == {"short": DONE}
    again = await poll_tasks(shift_seconds=0)
    assert upstream.states == {"short": DONE}
    assert "BUDGET_TOKENS_PER_DAY is 20" in again.tally.deferred["task long"]
    assert report.tally.failed == again.tally.failed == 0
    assert providers.openai.sent == [["ten bytes!"]]


async def test_what_was_embedded_lately_is_not_paid_for_again(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    upstream.add("t1", "the same")
    await poll_tasks(shift_seconds=0)
    upstream.add("t2", "the same")
    report = await poll_tasks(shift_seconds=0)
    assert upstream.states == {"t1": DONE, "t2": DONE}
    assert (len(providers.openai.requests), report.tally.cached) == (1, 1)
    assert results(upstream)["t1"]["embedding"] == results(upstream)["t2"]["embedding"]


async def test_an_open_breaker_leaves_tasks_pending_for_every_later_run(
    upstream: FakeUpstream, providers: Providers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    monkeypatch.setenv("CIRCUIT_BREAKER_THRESHOLD", "1")
    # The request twice, and a probe that tells whose fault it is.
    providers.openai.fail_next(503, 503, 503)
    upstream.add("t1")
    with pytest.raises(Unavailable):
        await poll_tasks(shift_seconds=0)
    upstream.add("t2")
    with pytest.raises(Exception, match="breaker of 'openai' is open"):
        await poll_tasks(shift_seconds=0)
    assert upstream.states == {"t1": ["processing"]}
    assert len(providers.openai.requests) == 3


@pytest.mark.parametrize("status", [None, 400, 401, 429, 500])
async def test_no_secret_reaches_store_logs_or_artifacts(  # noqa: PLR0917 - fixtures
    upstream: FakeUpstream,
    providers: Providers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    status: int | None,
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    key = providers.openai.api_key
    upstream.add("t1")
    if status is not None:
        # A server that is careless with what it was sent.
        error = {"error": {"message": f"no: {key}", "code": key}}
        providers.openai.fail_next(*[status] * 9, body=json.dumps(error).encode())
    with contextlib.suppress(AletheiaError):
        await poll_tasks(shift_seconds=0)
    assert len(providers.openai.requests) == {400: 2, 500: 3}.get(status or 200, 1)
    documents = StoreCredentials(data_dir=tmp_path).get_client()
    await documents.open()
    assert await documents.count(ROWS, {}) == 1
    await documents.close()
    written = await asyncio.to_thread(lambda: [f.read_bytes() for f in tmp_path.rglob("*.*")])
    assert written
    assert not [content for content in written if key.encode() in content]
    run = await last_run("poll_tasks")
    shown = [await artifacts(name, run.id) for name in ("shift-report", "provider-status")]
    assert all(shown)
    assert key not in f"{shown} {run.state} {caplog.text}"
    assert not [
        body for bodies in upstream.bodies.values() for body in bodies if key.encode() in body
    ]
