"""All processors by task type: those that come with Aletheia, and those of users' packages.

A package whose processor cannot be loaded or built makes its own type unusable, and no other one:
tasks of that type stay where they are, and `faults` says why.
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, cast

from aletheia.analysis.processor import (
    ENTRY_POINT_GROUP,
    Finished,
    Lane,
    Limited,
    Processor,
    TypeSpec,
    spec_of,
)
from aletheia.analysis.time_limits import next_within
from aletheia.analysis.tools import Build, Toolbox
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, Misconfigured

DEFAULT_TIME_LIMIT_S: Final = 300.0
"""`TASK_TIMEOUT` where it is not set (SPEC §3)."""

log = logging.getLogger(__name__)


class Processors:
    """All processors by task type; `faults` are of types that cannot be computed."""

    def __init__(
        self,
        processors: Mapping[str, Processor],
        *,
        faults: Mapping[str, Misconfigured] | None = None,
        time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    ) -> None:
        self._processors, self.faults = dict(processors), dict(faults or {})
        self._specs = {name: spec_of(found) for name, found in self._processors.items()}
        self._time_limit_s = time_limit_s

    @property
    def types(self) -> tuple[str, ...]:
        """The task types that can be computed."""
        return tuple(sorted(self._processors))

    def spec(self, task_type: str) -> TypeSpec:
        """Return what a type that is served says about itself. Raises `KeyError`: another one."""
        return self._specs[task_type]

    def lane(self, task_type: str) -> Lane:
        """Return the lane of a type; `intake` where it is not known."""
        spec = self._specs.get(task_type)
        return "intake" if spec is None else spec.lane

    def inputs_per_call(self, task_type: str) -> int | None:
        """Return how many inputs go into one call of `process` at most; `None` is no bound."""
        return self._specs[task_type].max_inputs

    def admit(self, task_type: str, task_input: Mapping[str, Any]) -> str:
        """Check an input and name its group.

        Raises:
            InvalidTask: the type is unknown, or the input bad.
            Misconfigured: the type's processor cannot be built.
        """
        processor = self._processors.get(task_type)
        if processor is None and task_type in self.faults:
            raise self.faults[task_type]
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
        """Compute inputs of one group; any fault but an `AletheiaError` is `ComputeFailed`.

        Raises:
            TooSlow: the next answers have not come within the type's time limit.
        """
        limit_s = self._specs[task_type].time_limit_s or self._time_limit_s
        try:
            async with aclosing(self._processors[task_type].process(group, inputs)) as results:
                while (finished := await next_within(results, limit_s, task_type)) is not None:
                    yield finished
        except AletheiaError:
            raise
        except Exception as fault:
            log.exception("the processor of %r failed", task_type)
            raise ComputeFailed("processor_error", f"{type(fault).__name__}: {fault}") from fault


async def load_processors(
    built_in: Mapping[str, Build],
    toolbox: Toolbox,
    *,
    plugins: Sequence[EntryPoint] | None = None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> Processors:
    """Build all processors; `plugins` are those of users' packages, by default the installed ones.

    A plug-in replaces nothing that is there.

    Raises:
        Misconfigured: a built-in type lacks something that it needs.
    """
    built = {name: await toolbox.build(name, build) for name, build in built_in.items()}
    faults: dict[str, Misconfigured] = {}
    found = entry_points(group=ENTRY_POINT_GROUP) if plugins is None else plugins
    for plugin in sorted(found, key=lambda known: (known.name, known.value)):
        task_type = plugin.name.strip().lower()
        try:
            if task_type in built:
                reason = f"the type {task_type!r} is there already"
                raise Misconfigured(f"processor {plugin.value!r}", reason)
            built[task_type] = await toolbox.build(task_type, _load(plugin))
        except Misconfigured as fault:
            faults[plugin.value if task_type in built else task_type] = fault
    for name, fault in faults.items():
        log.error("tasks of %r cannot be computed: %s", name, fault)
    return Processors(built, faults=faults, time_limit_s=time_limit_s)


def _load(plugin: EntryPoint) -> Build:
    name = f"processor {plugin.value!r}"
    try:
        found: Any = plugin.load()
    except (Exception, SystemExit) as fault:
        reason = f"cannot be loaded: {type(fault).__name__}: {fault}"
        raise Misconfigured(name, reason) from fault
    if not callable(found):
        raise Misconfigured(name, f"is a {type(found).__name__}, and nothing that can be built")
    return cast("Build", found)
