"""Types that are computed input by input."""

from typing import ClassVar

import pytest
from pydantic import BaseModel

from aletheia.analysis.processor import Finished, TypeSpec
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.errors import ComputeFailed, InvalidTask, Unavailable


class Text(BaseModel):
    text: str


class Length(BaseModel):
    length: int
    confidence: float | None
    note: str | None = None


class Measure(SingleProcessor[Text]):
    spec: ClassVar[TypeSpec] = TypeSpec(input=Text, result=Length)

    async def compute(self, task_input: Text) -> Computed:
        if task_input.text == "down":
            raise Unavailable("ruler", "bent")
        if task_input.text == "bad":
            raise ComputeFailed("unmeasurable", "it has no ends")
        result = Length(length=len(task_input.text), confidence=None)
        return Computed(result, {"model": "m"}, {"tokens": 2})


async def compute(*texts: str) -> list[Finished]:
    inputs = [{"text": text} for text in texts]
    return [answer async for found in Measure().process("", inputs) for answer in found]


async def test_each_input_is_answered_with_its_result_or_its_own_error():
    first, second, third = await compute("ab", "bad", "abc")
    assert first.result == {"length": 2, "confidence": None}
    assert (first.record, first.usage) == ({"model": "m"}, {"tokens": 2})
    assert isinstance(second.error, ComputeFailed)
    assert second.error.code == "unmeasurable"
    assert (third.index, third.result) == (2, {"length": 3, "confidence": None})


async def test_an_outage_ends_the_call():
    with pytest.raises(Unavailable):
        await compute("ab", "down", "abc")


def test_an_input_is_checked_by_its_model():
    assert Measure().admit({"text": "a"}) == ""
    with pytest.raises(InvalidTask) as raised:
        Measure().admit({})
    assert raised.value.code == "missing_text"
