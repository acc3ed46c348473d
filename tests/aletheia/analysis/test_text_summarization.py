"""The task type `text_summarization`."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.openai.chat import OpenAIChat
from aletheia.adapters.openai.wire import Api
from aletheia.analysis.processor import Finished
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.text_summarization import TextSummarization, TextSummarizationResult
from aletheia.analysis.tools import WorkerChat
from aletheia.errors import InvalidTask
from tests.fakes.chat import ScriptedChat
from tests.fakes.openai_chat import SONNET, FakeChatServer, serve_fake_chat
from tests.fakes.samples import sentences

SETTINGS = WorkerSettings()
TEXT = sentences(20)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncGenerator[ResultCache]:
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    yield ResultCache(documents, scope="t 1", ttl_s=100)
    await documents.close()


async def compute(processor: TextSummarization, **task_input: Any) -> Finished:
    group = processor.admit(task_input)
    async with aclosing(processor.process(group, [task_input])) as results:
        (answer,) = [answer async for answers in results for answer in answers]
    return answer


def result_of(answer: Finished) -> dict[str, Any]:
    assert answer.error is None
    found = dict(answer.result or {})
    TextSummarizationResult.model_validate(found)
    return found


def written(*texts: str) -> str:
    return json.dumps({"sentences": texts})


@pytest.mark.parametrize("max_length", [None, 20, 60, 300, 20_000])
async def test_the_summary_is_the_texts_own_sentences_and_not_longer_than_asked(
    max_length: int | None,
):
    asked = {} if max_length is None else {"max_length": max_length}
    found = result_of(await compute(TextSummarization(SETTINGS), text=TEXT, **asked))
    assert found["extractive"] is True
    assert 0 < found["summary_length"] == len(found["summary"]) <= (max_length or 150)
    assert found["original_length"] == len(TEXT)
    ratio = found["summary_length"] / found["original_length"]
    assert found["compression_ratio"] == pytest.approx(ratio, abs=1e-4)
    for place in found["sentences"]:
        assert TEXT[place["start"] : place["end"]] == place["text"]
    starts = [place["start"] for place in found["sentences"]]
    assert starts == sorted(starts)
    joined = " ".join(place["text"] for place in found["sentences"])
    assert found["summary"] == joined


@pytest.mark.parametrize(
    "text",
    [
        "One word",
        "word " * 5000,
        "这是第一句话。这是第二句话。" * 40,
        "هذه جملة طويلة عن مدينة كبيرة. " * 30,
        "First.\x00\x01 Second \u202e sentence is here. 😀 Third one. " * 50,
        "a" * 100_000,
        "x. y. z",
        "the of and. is it.",
    ],
)
async def test_odd_texts_are_summarised_within_their_length(text: str):
    found = result_of(await compute(TextSummarization(SETTINGS), text=text, max_length=50))
    assert 0 < found["summary_length"] <= 50
    for place in found["sentences"]:
        assert text[place["start"] : place["end"]] == place["text"]


async def test_a_text_of_signs_alone_has_nothing_to_summarise():
    answer = await compute(TextSummarization(SETTINGS), text="😀 😀 !!!")
    assert answer.error is not None
    assert answer.error.code == "no_text"


@pytest.mark.parametrize(
    ("task_input", "code"),
    [
        ({}, "missing_text"),
        ({"text": 5}, "invalid_text"),
        ({"text": " "}, "empty_text"),
        ({"text": "\ud800"}, "invalid_text"),
        ({"text": "a" * 1_000_001}, "input_too_long"),
        ({"text": "\x00\u200b"}, "empty_text"),
        ({"text": "a", "max_length": 5}, "invalid_max_length"),
        ({"text": "a", "max_length": "long"}, "invalid_max_length"),
        ({"text": "a", "max_length": 10**9}, "invalid_max_length"),
    ],
)
def test_an_input_that_makes_no_sense_is_found_out_before_any_work(
    task_input: dict[str, Any], code: str
):
    with pytest.raises(InvalidTask) as refused:
        TextSummarization(SETTINGS).admit(task_input)
    assert refused.value.code == code


@pytest.fixture
async def server() -> AsyncGenerator[FakeChatServer]:
    async with serve_fake_chat() as fake:
        yield fake


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_model_that_is_there_writes_it(server: FakeChatServer, provider: str):
    server.say(written("Grain is stored.", "It is dry."))
    chat = OpenAIChat(Api(provider, server.api_key, server.url, timeout_s=5))
    await chat.open()
    processor = TextSummarization(SETTINGS, chat=WorkerChat(chat, SONNET))
    answer = await compute(processor, text=TEXT)
    await chat.close()
    found = result_of(answer)
    assert found["summary"] == "Grain is stored. It is dry."
    assert found["extractive"] is False
    assert found["provider"] == provider
    assert {"sentences", "fallback", "mock"}.isdisjoint(found)
    assert "at most 150 characters" in server.requests[0].text


async def test_what_is_beyond_the_length_is_left_out_sentence_by_sentence():
    chat = ScriptedChat(written("Grain is stored.", "It is dry.", "x" * 100))
    processor = TextSummarization(SETTINGS, chat=WorkerChat(chat, "m"))
    found = result_of(await compute(processor, text=TEXT, max_length=30))
    assert found["summary"] == "Grain is stored. It is dry."


async def test_a_model_that_writes_too_much_is_asked_for_less_and_then_not_again():
    chat = ScriptedChat(written("x" * 100), written("Short."))
    processor = TextSummarization(SETTINGS, chat=WorkerChat(chat, "m"))
    answer = await compute(processor, text=TEXT, max_length=30)
    assert result_of(answer)["summary"] == "Short."
    assert "at most 15 characters" in chat.prompts[1]
    assert answer.usage == {"tokens": 220}

    chat = ScriptedChat(written("x" * 100), written("y" * 100))
    processor = TextSummarization(SETTINGS, chat=WorkerChat(chat, "m"))
    found = result_of(await compute(processor, text=TEXT, max_length=60))
    assert (found["extractive"], found["fallback"]) == (True, "answer_too_long")
    assert found["summary_length"] <= 60


async def test_the_mock_writes_nothing():
    processor = TextSummarization(SETTINGS, chat=WorkerChat(MockChat(), "m"))
    found = result_of(await compute(processor, text=TEXT))
    assert found["extractive"] is True
    assert "fallback" not in found


async def test_a_model_that_fails_is_named_as_the_reason():
    processor = TextSummarization(SETTINGS, chat=WorkerChat(ScriptedChat("no JSON"), "m"))
    found = result_of(await compute(processor, text=TEXT))
    assert (found["extractive"], found["fallback"]) == (True, "not_json")


async def test_the_same_text_is_paid_for_once(cache: ResultCache):
    chat = ScriptedChat(written("Grain is stored."))
    processor = TextSummarization(SETTINGS, chat=WorkerChat(chat, "m"), cache=cache)
    first, second = [await compute(processor, text=TEXT) for _ in range(2)]
    assert result_of(first) == result_of(second)
    assert (first.usage, second.usage) == ({"tokens": 110}, {"tokens": 0})
    other = TextSummarization(SETTINGS, chat=WorkerChat(ScriptedChat("no"), "m2"), cache=cache)
    assert result_of(await compute(other, text=TEXT))["fallback"] == "not_json"
