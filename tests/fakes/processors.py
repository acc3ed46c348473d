"""Processors whose work is set in advance, as strict as the real ones about their answers."""

import bisect
import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from aletheia.analysis.processor import Finished, Lane
from aletheia.errors import AletheiaError, BudgetExceeded, InvalidTask


class FakeProcessors:
    """Computes the type `echo`: upper-cases `text`, with a serial number no two results share.

    Attributes:
        computed: the texts of every call, in order.
        faults: by text, what the next computations of it answer.
        outages: what the next calls raise before they answer anything.
        in_flight: most calls that were under way at once.
        holds: what is in the way of claiming anything, the next times it is asked.
        max_inputs: how many inputs there is capacity for, each time it is asked.
        asked: how many inputs each question was about.
        budget: how many characters there is capacity for, together.
        lanes: the lanes of types, where it is not `intake`.
        per_call: how many inputs go into one call; `None` is no bound.
    """

    def __init__(self, *, set_size: int = 4) -> None:
        self.computed: list[list[str]] = []
        self.faults: dict[str, list[AletheiaError]] = {}
        self.outages: list[AletheiaError] = []
        self.in_flight = 0
        self.holds: list[AletheiaError] = []
        self.max_inputs: int | None = None
        self.asked: list[int] = []
        self.budget: int | None = None
        self.lanes: dict[str, Lane] = {}
        self.per_call: int | None = None
        self._set_size = set_size
        self._running = 0
        self._serial = itertools.count()

    @property
    def texts(self) -> list[str]:
        """Every text computed, in order."""
        return [text for call in self.computed for text in call]

    def admit(self, task_type: str, task_input: Mapping[str, Any]) -> str:
        """Take `echo` with a text; the group is its `model`."""
        if task_type != "echo":
            raise InvalidTask("unknown_type", f"unknown type {task_type!r}")
        if not isinstance(task_input.get("text"), str):
            raise InvalidTask("missing_text", "the input has no text")
        return str(task_input.get("model", "m"))

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are computed."""
        return ("echo",)

    def lane(self, task_type: str) -> Lane:
        """Return the lane that was set."""
        return self.lanes.get(task_type, "intake")

    def inputs_per_call(self, task_type: str) -> int | None:
        """Return the bound that was set."""
        del task_type
        return self.per_call

    async def capacity(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> int:
        """Return the capacity that was set."""
        del task_type, group
        self.asked.append(len(inputs))
        if self.holds:
            raise self.holds.pop(0)
        if self.budget is not None:
            sums = list(itertools.accumulate(len(task["text"]) for task in inputs))
            if sums[0] > self.budget:
                raise BudgetExceeded("BUDGET_TOKENS_PER_DAY", self.budget, 0, sums[0], None)
            return bisect.bisect_right(sums, self.budget)
        return len(inputs) if self.max_inputs is None else min(self.max_inputs, len(inputs))

    async def process(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Answer in sets, the last input first."""
        assert task_type == "echo"
        self._running += 1
        self.in_flight = max(self.in_flight, self._running)
        try:
            if self.outages:
                raise self.outages.pop(0)
            self.computed.append([task["text"] for task in inputs])
            answers = [self._answer(group, index, task) for index, task in enumerate(inputs)]
            for start in range(0, len(answers), self._set_size):
                yield answers[::-1][start : start + self._set_size]
        finally:
            self._running -= 1

    def _answer(self, group: str, index: int, task: Mapping[str, Any]) -> Finished:
        text = task["text"]
        if self.faults.get(text):
            return Finished(index, error=self.faults[text].pop(0))
        record = {"model": group, "provider": "fake"}
        result = {"echo": text.upper(), "serial": next(self._serial), **record}
        return Finished(index, result, record, {"tokens": len(text)})
