"""Processors: what computes a task type, and how a type of one's own is added.

A package of yours adds a type by an entry point in the group `aletheia.processors`: the task type,
and a class that is a `Processor`:

    [project.entry-points."aletheia.processors"]
    word_count = "my_package.processor:WordCount"

What its constructor names is given to it: see `aletheia.analysis.tools`. `aletheia new-processor
NAME` writes such a package, and `aletheia try TYPE JSON` runs one input of it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from pydantic import BaseModel, ConfigDict

from aletheia.errors import (
    AletheiaError,
    Deferred,
    Misconfigured,
    ModelUnavailable,
    Refused,
    Unavailable,
)

ENTRY_POINT_GROUP: Final = "aletheia.processors"

Lane: TypeAlias = Literal["intake", "media", "llm"]
"""Where a type is computed: in the shift itself, or by the workers of a queue (SPEC §1, Lanes)."""

LANES: Final[tuple[Lane, ...]] = get_args(Lane)

MAX_TIME_LIMIT_S: Final = 86_400.0
"""Longest time that computing one task may take, seconds."""


OUTAGES: Final = (Unavailable, ModelUnavailable, Deferred, Refused, Misconfigured)
"""What makes a task wait rather than fail, and uses up none of its attempts.

A provider that refuses us, for a wrong key or a wrong setting, says nothing about the task.
"""


class AnyFields(BaseModel):
    """Any fields: the form of a type that says nothing about its inputs or results."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """What a processor says about its task type; `docs/task-types.md` is written from it.

    Raises `Misconfigured` where it makes no sense.
    """

    input: type[BaseModel] = AnyFields
    result: type[BaseModel] = AnyFields
    lane: Lane = "intake"
    version: str = "1"  # changes whenever the same input gets another result
    time_limit_s: float | None = None  # of one call of `process` to its next answers; `None`: as
    # `TASK_TIMEOUT` says, see also `aletheia.analysis.time_limits.allow_time`
    max_inputs: int | None = 1  # of one call of `process`; `None` is no bound

    def __post_init__(self) -> None:
        is_time = self.time_limit_s is None or 0 < self.time_limit_s <= MAX_TIME_LIMIT_S
        problems = {
            "input": "" if _is_model(self.input) else "is no pydantic model",
            "result": "" if _is_model(self.result) else "is no pydantic model",
            "lane": "" if self.lane in LANES else f"is none of {', '.join(LANES)}",
            "version": "" if self.version.strip() else "is empty",
            "time_limit_s": "" if is_time else f"is not in (0, {MAX_TIME_LIMIT_S:.0f}]",
            "max_inputs": "is less than 1" if (self.max_inputs or 1) < 1 else "",
        }
        for name, problem in problems.items():
            if problem:
                raise Misconfigured(f"processor, {name} of its spec", problem)


def _is_model(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


UNDESCRIBED: Final = TypeSpec(max_inputs=None)
"""The spec of a processor that has none."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of the input at `index`: a result or an error."""

    index: int
    result: Mapping[str, Any] | None = None
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what the ledger keeps of it
    usage: Mapping[str, Any] | None = None  # of which `tokens` is counted
    error: AletheiaError | None = None


class Processor(Protocol):
    """Computes the tasks of one type.

    Its class should have a `spec`, a `TypeSpec`; without one its type is of the lane `intake` and
    takes any number of inputs at once. Nothing of it may block the event loop.
    """

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
class Described(Protocol):
    """A processor that says something about its type."""

    spec: ClassVar[TypeSpec]


@runtime_checkable
class Limited(Protocol):
    """A processor that cannot always compute all it is asked for; optional."""

    async def capacity(self, group: str, inputs: Sequence[Mapping[str, Any]]) -> int:
        """Return how many inputs, from the first, may be computed now, or raise `Deferred`."""
        ...


def spec_of(processor: object) -> TypeSpec:
    """Return what a processor, or its class, says about its type.

    Raises:
        Misconfigured: its `spec` is something else than a `TypeSpec`.
    """
    found: object = getattr(processor, "spec", UNDESCRIBED)
    if not isinstance(found, TypeSpec):
        raise Misconfigured("processor", f"its spec is a {type(found).__name__}, no TypeSpec")
    return found
