"""Processors: what computes a task type, and how a type of one's own is added.

A package of yours adds a type by an entry point in the group `aletheia.processors`: the task type,
and a class without constructor arguments that is a `Processor`:

    [project.entry-points."aletheia.processors"]
    word_count = "my_package.aletheia:WordCount"
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, Misconfigured

ENTRY_POINT_GROUP = "aletheia.processors"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of the input at `index`: a result or an error."""

    index: int
    result: Mapping[str, Any] | None = None
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what the ledger keeps of it
    usage: Mapping[str, Any] | None = None  # of which `tokens` is counted
    error: AletheiaError | None = None


class Processor(Protocol):
    """Computes the tasks of one type."""

    def admit(self, task_input: Mapping[str, Any]) -> str:
        """Name the group, such as a model, of an input, or raise `InvalidTask`; do no work."""
        ...

    def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Compute inputs of one group, each answered once, in sets as they are done.

        After `Unavailable` the unanswered ones wait and lose no attempt; after another
        `AletheiaError` they are tried again if it is retryable.
        """
        ...


@runtime_checkable
class Limited(Protocol):
    """A processor that cannot always compute all it is asked for; optional."""

    async def capacity(self, group: str, inputs: Sequence[Mapping[str, Any]]) -> int:
        """Return how many inputs, from the first, may be computed now, or raise `Deferred`."""
        ...


class Processors:
    """All processors by task type; `plugins` that users add replace no built-in one."""

    def __init__(
        self, built_in: Mapping[str, Processor], plugins: Sequence[EntryPoint] | None = None
    ) -> None:
        self._processors = dict(built_in)
        found = entry_points(group=ENTRY_POINT_GROUP) if plugins is None else plugins
        for plugin in found:
            task_type = plugin.name.strip().lower()
            if task_type in self._processors:
                raise Misconfigured(
                    f"processor {plugin.value!r}", f"the type {task_type!r} is there already"
                )
            self._processors[task_type] = _load(plugin)

    @property
    def types(self) -> tuple[str, ...]:
        """The task types that can be computed."""
        return tuple(sorted(self._processors))

    def admit(self, task_type: str, task_input: Mapping[str, Any]) -> str:
        """Check an input and name its group; `InvalidTask` for an unknown type or bad input."""
        processor = self._processors.get(task_type)
        if processor is None:
            known = ", ".join(self.types)
            raise InvalidTask(
                "unknown_type", f"the type {task_type[:60]!r} is none of those served: {known}"
            )
        try:
            return processor.admit(task_input)
        except AletheiaError:
            raise
        except Exception as fault:
            log.exception("the processor of %r failed on checking an input", task_type)
            raise InvalidTask("processor_error", f"{type(fault).__name__}: {fault}") from fault

    async def capacity(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> int:
        """Return how many admitted inputs may be computed now, or raise why none."""
        processor = self._processors[task_type]
        return (
            await processor.capacity(group, inputs)
            if isinstance(processor, Limited)
            else len(inputs)
        )

    async def process(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Compute inputs of one group; any fault but an `AletheiaError` is `ComputeFailed`."""
        try:
            async with aclosing(self._processors[task_type].process(group, inputs)) as results:
                async for finished in results:
                    yield finished
        except AletheiaError:
            raise
        except Exception as fault:
            log.exception("the processor of %r failed", task_type)
            raise ComputeFailed("processor_error", f"{type(fault).__name__}: {fault}") from fault


def _load(plugin: EntryPoint) -> Processor:
    try:
        return plugin.load()()
    except Exception as fault:
        raise Misconfigured(
            f"processor {plugin.value!r}", f"cannot be loaded: {type(fault).__name__}: {fault}"
        ) from fault
