"""A provider's batch API behind the circuit breaker that its other callers share."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from aletheia.analysis.processor import Finished
from aletheia.intake.bulk.ports import Batches, ProviderBatch
from aletheia.resilience.breaker import CircuitBreaker


class GuardedBatches:
    """Leaves a provider alone that failed too often, and tells how each call went.

    Files are deleted without asking: whether that works out is of no importance.

    Args:
        inner: the batch API.
        breakers: of all dependencies.
    """

    def __init__(self, inner: Batches, breakers: CircuitBreaker) -> None:
        self._inner, self._breakers = inner, breakers
        self.provider = inner.provider
        self.max_lines, self.max_bytes = inner.max_lines, inner.max_bytes

    def weigh(self, model: str, task_input: Mapping[str, Any]) -> int | None:
        """See `aletheia.intake.bulk.ports.Batches.weigh`."""
        return self._inner.weigh(model, task_input)

    def body_of(self, model: str, task_input: Mapping[str, Any]) -> bytes:
        """See `aletheia.intake.bulk.ports.Batches.body_of`."""
        return self._inner.body_of(model, task_input)

    def size_of(self, body: bytes) -> int:
        """See `aletheia.intake.bulk.ports.Batches.size_of`."""
        return self._inner.size_of(body)

    async def check(self) -> None:
        """See `aletheia.intake.bulk.ports.Batches.check`.

        Raises:
            BreakerOpen: it is left alone for now; so it is with all calls below.
        """
        async with self._breakers.guarding(self.provider):
            await self._inner.check()

    async def upload(self, key: str, requests: Mapping[int, bytes]) -> str:
        """See `aletheia.intake.bulk.ports.Batches.upload`."""
        async with self._breakers.guarding(self.provider):
            return await self._inner.upload(key, requests)

    async def discard(self, file_id: str) -> None:
        """See `aletheia.intake.bulk.ports.Batches.discard`."""
        await self._inner.discard(file_id)

    async def create(self, key: str, input_file: str) -> ProviderBatch:
        """See `aletheia.intake.bulk.ports.Batches.create`."""
        async with self._breakers.guarding(self.provider):
            return await self._inner.create(key, input_file)

    async def find(self, key: str) -> list[ProviderBatch]:
        """See `aletheia.intake.bulk.ports.Batches.find`."""
        async with self._breakers.guarding(self.provider):
            return await self._inner.find(key)

    async def poll(self, batch_id: str) -> ProviderBatch:
        """See `aletheia.intake.bulk.ports.Batches.poll`."""
        async with self._breakers.guarding(self.provider):
            return await self._inner.poll(batch_id)

    async def cancel(self, batch_id: str) -> None:
        """See `aletheia.intake.bulk.ports.Batches.cancel`."""
        async with self._breakers.guarding(self.provider):
            await self._inner.cancel(batch_id)

    async def answers(self, batch: ProviderBatch, model: str) -> AsyncGenerator[Sequence[Finished]]:
        """See `aletheia.intake.bulk.ports.Batches.answers`."""
        async with (
            self._breakers.guarding(self.provider),
            aclosing(self._inner.answers(batch, model)) as answers,
        ):
            async for some in answers:
                yield some

    async def forget(self, batch: ProviderBatch) -> None:
        """See `aletheia.intake.bulk.ports.Batches.forget`."""
        await self._inner.forget(batch)
