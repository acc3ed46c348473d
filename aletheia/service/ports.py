"""What the service needs from outside."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from aletheia.items.content import ContentStore

OpenContent: TypeAlias = Callable[[str], AbstractAsyncContextManager[ContentStore]]
"""Opens the items of a project for a while."""

CheckCallback: TypeAlias = Callable[[str], None]
"""Checks the address of a callback without asking DNS. Raises `InvalidTask`."""

FetchKeys: TypeAlias = Callable[[], Awaitable[bytes]]
"""Reads the document of an issuer's keys (RFC 7517, §5). Raises `Unavailable`, `Misconfigured`."""


class SeenWorker(Protocol):
    """A worker, as the orchestrator last heard of it."""

    @property
    def name(self) -> str:
        """Its name, unique in its pool."""
        ...

    @property
    def pool(self) -> str:
        """The work pool that it takes runs from."""
        ...

    @property
    def is_online(self) -> bool:
        """Whether it was heard of lately."""
        ...

    @property
    def seen_at(self) -> datetime | None:
        """When it was heard of last, in UTC."""
        ...


class SeenGpu(Protocol):
    """A graphics processor of this machine."""

    @property
    def name(self) -> str:
        """Its place in the machine, from 0."""
        ...

    @property
    def used_bytes(self) -> int:
        """Memory in use, by all programs."""
        ...

    @property
    def total_bytes(self) -> int:
        """Memory that it has."""
        ...

    @property
    def busy_share(self) -> float | None:
        """How busy it was lately, 0 to 1; `None` where it does not say."""
        ...


ReadGpus: TypeAlias = Callable[[], Awaitable[Sequence[SeenGpu]]]
"""Reads the graphics processors of this machine; none where there are none."""


class Orchestrator(Protocol):
    """Whatever starts runs of deployments. All of it raises `Unavailable` and `Misconfigured`."""

    async def start(
        self, deployment: str, parameters: Mapping[str, Any], *, idempotency_key: str
    ) -> str:
        """Start a run of a deployment (`flow/deployment`), and return the run's id.

        A second start with the same key returns the run of the first.

        Raises:
            InvalidTask: `invalid_parameters`: the deployment does not take these.
        """
        ...

    async def workers(self) -> Sequence[SeenWorker]:
        """Return the workers of all pools, by pool and name."""
        ...

    async def ping(self) -> None:
        """Check that it answers, and takes our sign-in."""
        ...
