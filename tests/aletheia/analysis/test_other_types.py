from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest

from aletheia.analysis.other_types import OtherTypes
from aletheia.analysis.processor import Finished
from aletheia.analysis.registry import Processors
from aletheia.errors import ComputeFailed, Deferred, InvalidTask, Misconfigured


class Echo:
    """Answers with its input; `text` may name what goes wrong."""

    def admit(self, task_input: Mapping[str, Any]) -> str:
        if "text" not in task_input:
            raise InvalidTask("missing_text", "no text")
        return "g"

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        (task_input,) = inputs
        if task_input["text"] == "bad":
            yield [Finished(0, error=InvalidTask("bad", "it is bad"))]
        elif task_input["text"] != "silent":
            yield [Finished(0, {"echo": task_input["text"], "group": group}, usage={"tokens": 3})]


class Full(Echo):
    async def capacity(self, group: str, inputs: Sequence[Mapping[str, Any]]) -> int:
        del group, inputs
        raise Deferred("budget", "it is spent")


def build() -> OtherTypes:
    registry = Processors(
        {"echo": Echo(), "full": Full()}, faults={"broken": Misconfigured("broken", "it is")}
    )

    async def find() -> Processors:
        return registry

    return OtherTypes(find)


async def test_another_type_is_computed_by_name():
    types = build()
    assert await types.has("echo")
    answer = await types.compute("echo", {"text": "hi"})
    assert answer.result == {"echo": "hi", "group": "g"}
    assert answer.usage == {"tokens": 3}


async def test_a_type_that_is_not_there_says_so():
    types = build()
    assert not await types.has("speech")
    with pytest.raises(InvalidTask) as raised:
        await types.compute("speech", {})
    assert raised.value.code == "unknown_type"


@pytest.mark.parametrize(
    ("task_type", "task_input", "error"),
    [
        ("echo", {}, InvalidTask),
        ("echo", {"text": "bad"}, InvalidTask),
        ("echo", {"text": "silent"}, ComputeFailed),
        ("full", {"text": "hi"}, Deferred),
        ("broken", {"text": "hi"}, Misconfigured),
    ],
)
async def test_what_comes_instead_of_a_result_is_raised(
    task_type: str, task_input: dict[str, str], error: type[Exception]
):
    with pytest.raises(error):
        await build().compute(task_type, task_input)
