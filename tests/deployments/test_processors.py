"""Commands for whoever writes processors."""

from typing import ClassVar

import numpy as np
import pytest
from pydantic import BaseModel

from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.registry import Processors
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.errors import ComputeFailed, InvalidTask, Misconfigured
from deployments.processors import read_json, run_once, write_json


class Text(BaseModel):
    text: str


class Echo(SingleProcessor[Text]):
    spec: ClassVar[TypeSpec] = TypeSpec(input=Text)

    async def compute(self, task_input: Text) -> Computed:
        if task_input.text == "bad":
            raise ComputeFailed("unreadable", "it cannot be read")
        return Computed({"echo": task_input.text}, usage={"tokens": 1})


PROCESSORS = Processors({"echo": Echo()}, faults={"broken": Misconfigured("processor", "is odd")})


async def test_an_input_is_computed_and_nothing_else_happens():
    finished = await run_once(PROCESSORS, " ECHO ", {"text": "a"})
    assert (finished.result, finished.usage) == ({"echo": "a"}, {"tokens": 1})


@pytest.mark.parametrize(
    ("task_type", "task_input", "code"),
    [
        ("echo", {}, "missing_text"),
        ("echo", {"text": "bad"}, "unreadable"),
        ("never heard of", {"text": "a"}, "unknown_type"),
    ],
)
async def test_what_a_task_would_fail_with_is_raised(
    task_type: str, task_input: dict[str, str], code: str
):
    with pytest.raises((InvalidTask, ComputeFailed)) as raised:
        await run_once(PROCESSORS, task_type, task_input)
    assert raised.value.code == code


async def test_a_type_that_cannot_be_built_says_why():
    with pytest.raises(Misconfigured, match="is odd"):
        await run_once(PROCESSORS, "broken", {})


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '"a"'])
def test_an_input_is_a_json_object(text: str):
    with pytest.raises(InvalidTask) as raised:
        read_json(text)
    assert raised.value.code == "invalid_input"


def test_vectors_are_written_as_numbers():
    assert write_json({"embedding": np.array([1, 2], np.float32)}).split() == [
        *("{", '"embedding":', "[", "1.0,", "2.0", "]", "}"),
    ]
