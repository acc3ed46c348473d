"""Processors, built in and from users' packages."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from aletheia.analysis.processor import ENTRY_POINT_GROUP, Finished, Processors
from aletheia.errors import ComputeFailed, InvalidTask, Misconfigured, Unavailable


class WordCount:
    """What a user's package may hold."""

    def admit(self, task_input: Mapping[str, Any]) -> str:
        if task_input.get("text") == "bug":
            raise ZeroDivisionError("in the check")
        return "words"

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        for index, one in enumerate(inputs):
            if one["text"] == "down":
                raise Unavailable("dictionary", "closed")
            count = len(one["text"].split()) // one.get("divisor", 1)
            yield [Finished(index, {"words": count}, {"group": group})]


def plugin(name: str, value: str = f"{__name__}:WordCount") -> EntryPoint:
    return EntryPoint(name, value, ENTRY_POINT_GROUP)


def with_word_count() -> Processors:
    return Processors({"word_count": WordCount()}, [])


async def compute(processors: Processors, *inputs: dict[str, Any]) -> list[Finished]:
    return [
        output
        async for finished in processors.process("word_count", "words", inputs)
        for output in finished
    ]


async def test_a_type_from_an_entry_point_is_computed():
    processors = Processors({}, [plugin("Word_Count", "tests.aletheia.analysis.plugin:WordCount")])
    assert processors.types == ("word_count",)
    assert processors.admit("word_count", {"text": "a b"}) == "words"
    (one,) = await compute(processors, {"text": "a b"})
    assert one.result == {"words": 2}


def test_a_plugin_cannot_replace_what_is_there():
    with pytest.raises(Misconfigured, match="there already"):
        Processors({"word_count": WordCount()}, [plugin("word_count")])


@pytest.mark.parametrize("value", ["no.such.module:X", "json:NoSuchName", "json:loads"])
def test_a_plugin_that_cannot_be_loaded_is_named(value: str):
    with pytest.raises(Misconfigured, match="cannot be loaded") as raised:
        Processors({}, [plugin("x", value)])
    assert value in str(raised.value)


def test_an_unknown_type_names_those_that_are_served():
    with pytest.raises(InvalidTask, match="word_count") as raised:
        with_word_count().admit("speech_to_text", {})
    assert raised.value.code == "unknown_type"


def test_a_fault_in_a_plugins_check_is_the_tasks_failure():
    with pytest.raises(InvalidTask, match="ZeroDivisionError") as raised:
        with_word_count().admit("word_count", {"text": "bug"})
    assert raised.value.code == "processor_error"


async def test_a_fault_in_a_plugins_work_can_be_tried_again():
    with pytest.raises(ComputeFailed, match="ZeroDivisionError") as raised:
        await compute(with_word_count(), {"text": "a", "divisor": 0})
    assert (raised.value.code, raised.value.retryable) == ("processor_error", True)


async def test_an_outage_that_a_plugin_reports_stays_an_outage():
    with pytest.raises(Unavailable, match="closed"):
        await compute(with_word_count(), {"text": "down"})
