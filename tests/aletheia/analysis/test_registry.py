"""All processors by type: built in, and from users' packages, none of which stops another."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from aletheia.analysis.processor import ENTRY_POINT_GROUP, Finished, TypeSpec
from aletheia.analysis.registry import Processors, load_processors
from aletheia.analysis.time_limits import allow_time
from aletheia.analysis.tools import Toolbox
from aletheia.errors import ComputeFailed, InvalidTask, Misconfigured, TooSlow, Unavailable


class WordCount:
    """What a user's package may hold."""

    def admit(self, task_input: Mapping[str, Any]) -> str:
        if task_input.get("text") == "bug":
            raise ZeroDivisionError("in the check")
        return "words"

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        for index, task_input in enumerate(inputs):
            if task_input["text"] == "down":
                raise Unavailable("dictionary", "closed")
            count = len(task_input["text"].split()) // task_input.get("divisor", 1)
            yield [Finished(index, {"words": count}, {"group": group})]


class Slow(WordCount):
    """Takes as long as an input says, and asks for as long as it says."""

    spec: ClassVar[TypeSpec] = TypeSpec(lane="media", time_limit_s=0.05, max_inputs=2)

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        del group
        for index, task_input in enumerate(inputs):
            allow_time(task_input.get("asks_s", 0))
            await asyncio.sleep(task_input["takes_s"])
            yield [Finished(index, {"done": True})]


class OddSpec(WordCount):
    spec = "no spec"


class NeedsMore(WordCount):
    def __init__(self, teleporter: object) -> None:
        del teleporter


def plugin(name: str, value: str = f"{__name__}:WordCount") -> EntryPoint:
    return EntryPoint(name, value, ENTRY_POINT_GROUP)


def with_word_count() -> Processors:
    return Processors({"word_count": WordCount(), "slow": Slow()})


async def load(*plugins: EntryPoint) -> Processors:
    return await load_processors({"word_count": WordCount}, Toolbox({}), plugins=plugins)


async def compute(
    processors: Processors, *inputs: dict[str, Any], task_type: str = "word_count"
) -> list[Finished]:
    return [
        output
        async for finished in processors.process(task_type, "words", inputs)
        for output in finished
    ]


async def test_a_type_from_an_entry_point_is_computed():
    found = plugin("Word_Count", "tests.aletheia.analysis.plugin:WordCount")
    processors = await load_processors({}, Toolbox({}), plugins=[found])
    assert processors.types == ("word_count",)
    assert processors.admit("word_count", {"text": "a b"}) == "words"
    (finished,) = await compute(processors, {"text": "a b"})
    assert finished.result == {"words": 2}
    assert processors.faults == {}


async def test_a_type_says_which_lane_it_is_of_and_what_it_takes():
    processors = with_word_count()
    assert (processors.lane("slow"), processors.inputs_per_call("slow")) == ("media", 2)
    assert (processors.lane("word_count"), processors.inputs_per_call("word_count")) == (
        "intake",
        None,
    )
    assert processors.lane("never heard of") == "intake"


async def test_a_plugin_cannot_replace_what_is_there():
    processors = await load(plugin("word_count", "tests.aletheia.analysis.plugin:WordCount"))
    ((name, fault),) = processors.faults.items()
    assert name == "tests.aletheia.analysis.plugin:WordCount"
    assert "there already" in str(fault)
    assert processors.admit("word_count", {"text": "a"}) == "words"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no.such.module:X", "cannot be loaded"),
        ("json:NoSuchName", "cannot be loaded"),
        ("tests.aletheia.analysis.dies:Anything", "cannot be loaded: SystemExit"),
        ("json:__name__", "nothing that can be built"),
        ("json:loads", "names 's', which is none of"),
        ("json:JSONDecoder", "has no method 'admit'"),
        (f"{__name__}:NeedsMore", "names 'teleporter', which is none of: chat, embedder"),
        (f"{__name__}:OddSpec", "no TypeSpec"),
    ],
)
async def test_a_plugin_that_cannot_be_used_is_named_and_stops_no_other_one(
    value: str, reason: str, caplog: pytest.LogCaptureFixture
):
    processors = await load(plugin("broken", value), plugin("good"))
    assert processors.types == ("good", "word_count")
    assert reason in str(processors.faults["broken"])
    assert "tasks of 'broken' cannot be computed" in caplog.text
    with pytest.raises(Misconfigured, match="processor"):
        processors.admit("broken", {"text": "a"})


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


async def test_what_hangs_is_too_slow_and_what_came_before_counts():
    processors, came = with_word_count(), list[int]()
    inputs = [{"takes_s": 0}, {"takes_s": 600}]
    with pytest.raises(TooSlow, match=r"slow was not computed within 0\.05 s") as raised:
        async for finished in processors.process("slow", "words", inputs):
            came += [answer.index for answer in finished]
    assert came == [0]
    assert (raised.value.code, raised.value.retryable) == ("too_slow", False)


async def test_the_limit_of_all_types_holds_for_a_type_without_one():
    processors = Processors({"slow": _Unlimited()}, time_limit_s=0.05)
    with pytest.raises(TooSlow):
        await compute(processors, {"takes_s": 600}, task_type="slow")


async def test_a_processor_that_learns_that_it_needs_more_time_gets_it():
    inputs = [{"takes_s": 0.15, "asks_s": 60}, {"takes_s": 0.15, "asks_s": 60}]
    assert len(await compute(with_word_count(), *inputs, task_type="slow")) == 2


async def test_what_asks_for_less_time_keeps_what_it_has():
    (finished,) = await compute(
        with_word_count(), {"takes_s": 0.01, "asks_s": 0.001}, task_type="slow"
    )
    assert finished.result == {"done": True}


class _Unlimited(Slow):
    spec: ClassVar[TypeSpec] = TypeSpec()
