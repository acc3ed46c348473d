"""What the bulk lane works with, above all a provider's batch API."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from aletheia.analysis.processor import Finished
from aletheia.documents import Documents
from aletheia.intake.ports import Processors, Upstream
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter
from aletheia.settings import IntakeSettings
from aletheia.store.clock import SYSTEM_CLOCK, Clock

Phase: TypeAlias = Literal["running", "ended", "failed"]
"""`ended`: completed, expired or cancelled; what was done by then is there. `failed`: none was."""


@dataclass(frozen=True, slots=True)
class ProviderBatch:
    """A batch, as its provider shows it, with the ids of its files."""

    id: str
    phase: Phase  # how far it has come; `running` where that is not known
    status: str  # the same in the provider's word, such as `expired`
    created_at: float  # Unix time, seconds
    input_file: str
    output_file: str | None = None
    error_file: str | None = None
    reason: str = ""  # why it failed


class Batches(Protocol):
    """A provider's batch API. Nothing is retried here."""

    provider: str
    max_lines: int  # in one batch
    max_bytes: int  # of one batch's input

    def weigh(self, model: str, task_input: Mapping[str, Any]) -> int | None:
        """Return how many tokens a task has at most; `None` where it is not one for a batch."""
        ...

    def body_of(self, model: str, task_input: Mapping[str, Any]) -> bytes:
        """Return the request for a task; equal requests are sent once."""
        ...

    def size_of(self, body: bytes) -> int:
        """Return how many bytes of a batch's input a request takes, at most."""
        ...

    async def check(self) -> None:
        """Check that the API lets us in; raise what is in the way."""
        ...

    async def upload(self, key: str, requests: Mapping[int, bytes]) -> str:
        """Upload requests by the number of their line; return the file's id."""
        ...

    async def discard(self, file_id: str) -> None:
        """Delete a file, as far as that is possible."""
        ...

    async def create(self, key: str, input_file: str) -> ProviderBatch:
        """Submit an uploaded file as the batch `key`.

        After an `Unavailable` other than a `QuotaExhausted` the batch may be there all the same.
        """
        ...

    async def find(self, key: str) -> list[ProviderBatch]:
        """Find the batches submitted as `key`, the oldest first."""
        ...

    async def poll(self, batch_id: str) -> ProviderBatch:
        """Return how far a batch has come; raise `NotFound` where there is none any more."""
        ...

    async def cancel(self, batch_id: str) -> None:
        """Stop a batch; one that has ended stays as it is."""
        ...

    def answers(self, batch: ProviderBatch, model: str) -> AsyncGenerator[Sequence[Finished]]:
        """Read what a batch brought, in sets, in any order; `index` is the line's number.

        A line that is missing, or cannot be read, is not answered, nor is what lies beyond the
        longest file that is read. An error that is `Unavailable` says nothing against the task.
        Files that are gone are `NotFound`.
        """
        ...

    async def forget(self, batch: ProviderBatch) -> None:
        """Delete the files of a batch, as far as that is possible."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneDeps:
    """What a run of the lane works with; `batches` records in `breakers` how its calls went.

    A run that was killed keeps others out for `lane_lease_s`. For `listed_after_s` after a
    submission without an answer its batch may yet turn up in the list.
    """

    upstream: Upstream
    documents: Documents
    processors: Processors
    batches: Batches
    spending: Spending
    limiter: RateLimiter
    breakers: CircuitBreaker
    settings: IntakeSettings
    run_id: str
    poll_s: float = 0
    lane_lease_s: float = 60
    listed_after_s: float = 60
    clock: Clock = SYSTEM_CLOCK
