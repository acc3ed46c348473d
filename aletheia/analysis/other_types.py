"""Computing one task type as a part of another one, by name, whoever brings it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from aletheia.analysis.processor import Finished
from aletheia.errors import ComputeFailed


class TypeRegistry(Protocol):
    """All processors by task type, see `aletheia.analysis.registry.Processors`."""

    @property
    def types(self) -> tuple[str, ...]:
        """The task types that can be computed."""
        ...

    def admit(self, task_type: str, task_input: Mapping[str, Any]) -> str:
        """Check an input and name its group."""
        ...

    async def capacity(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> int:
        """Return how many admitted inputs may be computed now, or raise why none."""
        ...

    def process(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Compute inputs of one group."""
        ...


class OtherTypes:
    """Computes other task types; `find` returns them, and is asked when there is work.

    Not before: whoever names this tool is a part of what is found.
    """

    def __init__(self, find: Callable[[], Awaitable[TypeRegistry]]) -> None:
        self._find = find

    async def has(self, task_type: str) -> bool:
        """Return whether a type can be computed."""
        return task_type in (await self._find()).types

    async def compute(self, task_type: str, task_input: Mapping[str, Any]) -> Finished:
        """Compute one input of a type, within that type's own limit of time.

        Raises:
            InvalidTask: `unknown_type`, or the input is bad.
            Misconfigured: the type's processor cannot be built.
            AletheiaError: whatever came of it instead of a result.
        """
        registry = await self._find()
        group = registry.admit(task_type, task_input)
        await registry.capacity(task_type, group, [task_input])
        async with aclosing(registry.process(task_type, group, [task_input])) as results:
            async for answers in results:
                for answer in answers:
                    if answer.error is not None:
                        raise answer.error
                    return answer
        raise ComputeFailed("no_answer", f"the processor of {task_type!r} answered nothing")
