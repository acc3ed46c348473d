"""The task type `text_embedding`."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
import pytest

from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.analysis.ports import Embedded, Embedding
from aletheia.analysis.processor import Finished
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.text_embedding import TextEmbedding
from aletheia.errors import ComputeFailed, InvalidTask


class FakeEmbedder:
    """Embeds a text as its length; the text `bad` fails, the text `long` is truncated."""

    provider = "local"
    is_mock = False

    def canonical_model(self, model: str | None) -> str:
        if model not in (None, "m"):
            raise InvalidTask("unsupported_model", f"{model!r} is not served")
        return "m"

    async def capacity(self, model: str, texts: Sequence[str]) -> int:
        assert model == "m"
        return len(texts)

    async def embed(self, model: str, texts: Sequence[str]) -> AsyncGenerator[Sequence[Embedded]]:
        assert model == "m"
        for index, text in reversed(list(enumerate(texts))):
            if text == "bad":
                yield [Embedded(index, ComputeFailed("bad_vector", "not finite"))]
            else:
                vector = np.array([len(text), 1], np.float32)
                yield [Embedded(index, Embedding(vector, len(text), text == "long"))]


def processor(max_text_bytes: int = 20) -> TextEmbedding:
    return TextEmbedding(FakeEmbedder(), WorkerSettings(max_text_bytes=max_text_bytes))


async def compute(*texts: str) -> dict[int, Finished]:
    inputs = [{"text": text} for text in texts]
    return {
        output.index: output async for done in processor().process("m", inputs) for output in done
    }


@pytest.mark.parametrize(
    ("task_input", "code"),
    [
        ({}, "missing_text"),
        ({"text": None}, "missing_text"),
        ({"text": 7}, "invalid_text"),
        ({"text": ["a"]}, "invalid_text"),
        ({"text": True}, "invalid_text"),
        ({"text": ""}, "empty_text"),
        ({"text": " \n\t"}, "empty_text"),
        ({"text": "x" * 21}, "input_too_long"),
        ({"text": "ü" * 11}, "input_too_long"),
        ({"text": "x", "model": 7}, "invalid_model"),
        ({"text": "x", "model": False}, "invalid_model"),
        ({"text": "x", "model": "../m"}, "unsupported_model"),
    ],
)
def test_bad_input_has_a_code(task_input: dict[str, Any], code: str):
    with pytest.raises(InvalidTask) as raised:
        processor().admit(task_input)
    assert raised.value.code == code


@pytest.mark.parametrize(
    "task_input",
    [
        {"text": "x" * 20},
        {"text": "x", "model": " m "},
        {"text": "x", "model": ""},
        {"text": "x", "model": " "},
    ],
)
def test_good_input_is_grouped_by_its_model(task_input: dict[str, Any]):
    assert processor().admit(task_input) == "m"


async def test_a_result_says_what_really_ran():
    done = await compute("hello", "long")
    first = done[0]
    assert first.result is not None
    assert list(first.result["embedding"]) == [5, 1]
    assert first.record == {"model": "m", "provider": "local", "dimensions": 2}
    assert first.usage == {"tokens": 5}
    assert {key: first.result[key] for key in first.record} == first.record
    assert done[1].record["truncated"] is True


async def test_a_bad_text_fails_alone():
    done = await compute("one", "bad", "two")
    assert [done[i].error is None for i in range(3)] == [True, False, True]
    assert done[1].result is None


async def test_what_the_mock_made_says_so_everywhere():
    mock = TextEmbedding(MockEmbedder(default_model="m"), WorkerSettings(max_text_bytes=20))
    (one,) = [x async for done in mock.process("m", [{"text": "x"}]) for x in done]
    assert one.result is not None
    assert (one.result["mock"], one.record["mock"], one.result["provider"]) == (True, True, "mock")
