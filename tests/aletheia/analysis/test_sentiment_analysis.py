"""The task type `sentiment_analysis`."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MockChat
from aletheia.analysis.processor import Finished
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.sentiment_analysis import SentimentAnalysis, SentimentAnalysisResult
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.tools import WorkerChat
from aletheia.errors import InvalidTask
from tests.fakes.chat import ScriptedChat

SETTINGS = WorkerSettings()
BY_MODEL = WorkerSettings(sentiment_engine="llm")
JUDGED = json.dumps(
    {
        "sentiment": {"negative": 0.1, "neutral": 0.1, "positive": 0.6},
        "emotions": dict.fromkeys(("joy", "sadness", "anger", "fear", "surprise", "disgust"), 0.25),
    }
)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncGenerator[ResultCache]:
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    yield ResultCache(documents, scope="t 1", ttl_s=100)
    await documents.close()


async def compute(processor: SentimentAnalysis, *texts: str) -> list[Finished]:
    inputs: Sequence[Mapping[str, Any]] = [{"text": text} for text in texts]
    groups = {processor.admit(task_input) for task_input in inputs}
    assert groups == {""}
    found = [answer async for answers in processor.process("", inputs) for answer in answers]
    assert sorted(answer.index for answer in found) == list(range(len(texts)))
    return sorted(found, key=lambda answer: answer.index)


def result_of(answer: Finished) -> dict[str, Any]:
    assert answer.error is None
    found = dict(answer.result or {})
    SentimentAnalysisResult.model_validate(found)
    return found


async def test_texts_are_judged_together_each_with_its_probability():
    good, bad, neither = await compute(
        SentimentAnalysis(SETTINGS),
        "I love this, it is a wonderful gift!",
        "This is a horrible, disgusting mess.",
        "The meeting is on Tuesday in room four.",
    )
    assert result_of(good)["sentiment"] == "positive"
    assert result_of(bad)["sentiment"] == "negative"
    assert result_of(neither)["sentiment"] == "neutral"
    found = result_of(good)
    assert found["confidence"] == found["probabilities"]["positive"]
    assert found["emotions"]["joy"] > found["emotions"]["anger"]
    assert result_of(bad)["emotions"]["disgust"] > result_of(neither)["emotions"]["disgust"]
    assert found["provider"] == "local"
    assert good.record == {"provider": "local", "model": found["model"]}


@pytest.mark.parametrize(
    "text",
    [
        "我非常喜欢这个产品。它的质量很好。服务也很周到。",
        "Это был ужасный день, и я очень устал от всего.",
        "هذا المنتج رائع جدا وأنا سعيد به كثيرا",
        "Das Essen war wirklich ausgezeichnet, und die Bedienung war sehr freundlich zu uns allen.",
    ],
)
async def test_another_language_has_its_code_and_costs_its_neighbours_nothing(text: str):
    first, foreign, last = await compute(SentimentAnalysis(SETTINGS), "Great!", text, "Awful!")
    assert foreign.error is not None
    assert foreign.error.code == "unsupported_language"
    assert result_of(first)["sentiment"] == "positive"
    assert result_of(last)["sentiment"] == "negative"


@pytest.mark.parametrize(
    "text",
    ["😀", "???", "42", "a" * 50_000, "Good \u202eevil\u202c day", "Ω good day Ж 好", "ok\x00ok"],
)
async def test_odd_texts_are_judged(text: str):
    (answer,) = await compute(SentimentAnalysis(SETTINGS), text)
    found = result_of(answer)
    assert 1 / 3 - 0.001 <= found["confidence"] <= 1


@pytest.mark.parametrize(
    ("task_input", "code"),
    [
        ({}, "missing_text"),
        ({"text": None}, "missing_text"),
        ({"text": 7}, "invalid_text"),
        ({"text": "\ud800"}, "invalid_text"),
        ({"text": ""}, "empty_text"),
        ({"text": " \n"}, "empty_text"),
        ({"text": "\x00\u200b"}, "empty_text"),
        ({"text": "a" * 1_000_001}, "input_too_long"),
    ],
)
def test_what_is_no_text_is_found_out_before_any_work(task_input: dict[str, Any], code: str):
    with pytest.raises(InvalidTask) as refused:
        SentimentAnalysis(SETTINGS).admit(task_input)
    assert refused.value.code == code


async def test_a_chat_model_judges_any_language_where_the_settings_say_so():
    chat = ScriptedChat(JUDGED)
    processor = SentimentAnalysis(BY_MODEL, chat=WorkerChat(chat, "m"))
    (answer,) = await compute(processor, "我非常喜欢这个产品。它的质量很好。服务也很周到。")
    found = result_of(answer)
    assert (found["sentiment"], found["confidence"]) == ("positive", 0.75)
    assert found["emotions"]["joy"] == 0.25
    assert (found["provider"], found["model"]) == ("scripted", "m-2026")
    assert answer.usage == {"tokens": 110}
    assert (processor.spec.lane, processor.spec.max_inputs) == ("llm", 1)


async def test_it_does_not_where_they_do_not():
    chat = ScriptedChat()
    processor = SentimentAnalysis(SETTINGS, chat=WorkerChat(chat, "m"))
    (answer,) = await compute(processor, "Great!")
    assert result_of(answer)["provider"] == "local"
    assert processor.spec.lane == "intake"
    assert chat.requests == []


async def test_the_mock_judges_nothing():
    processor = SentimentAnalysis(BY_MODEL, chat=WorkerChat(MockChat(), "m"))
    (answer,) = await compute(processor, "Great!")
    assert result_of(answer)["provider"] == "local"
    assert processor.spec.lane == "intake"


async def test_the_same_text_is_paid_for_once(cache: ResultCache):
    chat = ScriptedChat(JUDGED)
    processor = SentimentAnalysis(BY_MODEL, chat=WorkerChat(chat, "m"), cache=cache)
    (first,), (second,) = [await compute(processor, "Great!") for _ in range(2)]
    assert result_of(first) == result_of(second)
    assert (first.usage, second.usage) == ({"tokens": 110}, {"tokens": 0})
    assert second.record["cached"] is True
