"""A processor for types that are computed input by input, the shortest way to write one."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel

from aletheia.analysis.inputs import read_input
from aletheia.analysis.processor import OUTAGES, Finished, TypeSpec
from aletheia.errors import AletheiaError

InputT = TypeVar("InputT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Computed:
    """The result of one input, what the ledger keeps of it, and what it used."""

    result: BaseModel | Mapping[str, Any]
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])
    usage: Mapping[str, Any] | None = None  # of which `tokens` is counted


class SingleProcessor(ABC, Generic[InputT]):
    """Computes the inputs of a type one after the other.

    A subclass has a `spec`, whose `input` is the model that `compute` is called with, and
    `compute`. Results are written as their models say, with what is `None` by default left out.
    """

    spec: ClassVar[TypeSpec]

    def admit(self, task_input: Mapping[str, Any]) -> str:
        """Check an input; see `Processor.admit`."""
        return self.group(self._read(task_input))

    def group(self, task_input: InputT) -> str:
        """Name the group of an input that was read, or raise `InvalidTask`; do no work."""
        del task_input
        return ""

    @abstractmethod
    async def compute(self, task_input: InputT) -> Computed:
        """Compute one input. What is wrong with the input alone is an `AletheiaError` as well."""

    async def process(
        self, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Compute inputs; see `Processor.process`."""
        del group
        for index, task_input in enumerate(inputs):
            yield [await self._finish(index, task_input)]

    async def _finish(self, index: int, task_input: Mapping[str, Any]) -> Finished:
        try:
            computed = await self.compute(self._read(task_input))
        except OUTAGES:
            raise
        except AletheiaError as error:
            return Finished(index, error=error)
        return Finished(index, write_result(computed.result), computed.record, computed.usage)

    def _read(self, task_input: Mapping[str, Any]) -> InputT:
        return read_input(cast("type[InputT]", self.spec.input), task_input)


def write_result(result: BaseModel | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a result as it is reported: fields that are `None` by default and stay so are absent.

    A field that has no default is there even if it is `None`: `confidence` says by it that there
    is none.
    """
    if not isinstance(result, BaseModel):
        return result
    fields = type(result).model_fields
    optional = {name for name, known in fields.items() if known.default is None}
    written = result.model_dump(mode="json")
    return {
        name: value for name, value in written.items() if value is not None or name not in optional
    }
