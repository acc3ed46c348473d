"""The guard of every request to a model: limits, budgets and breakers hold it back there."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from aletheia.llm.prices import Kind, Tokens


@dataclass(frozen=True, slots=True)
class CallPlan:
    """A request that is about to be sent."""

    provider: str  # such as `openrouter`
    model: str
    kind: Kind
    key: str  # hash of what is asked, so that a call repeated after a crash is recognised
    max_tokens: Tokens  # what the provider may count at most
    texts: int = 1


class Sent(Protocol):
    """The result of a request, as far as the guard reads it."""

    @property
    def used(self) -> Tokens:
        """What the provider counted, or else our upper estimate."""
        ...


SentT = TypeVar("SentT", bound=Sent)


@dataclass(frozen=True, slots=True)
class PlannedCall(Generic[SentT]):
    """A request that is about to be sent, and how it is sent.

    `reach` raises `Unreachable` if the provider cannot be reached, without asking its model.
    `is_suspected`: it is part of a request that failed while others passed.
    """

    plan: CallPlan
    send: Callable[[], Awaitable[SentT]]
    reach: Callable[[], Awaitable[None]] | None = None
    is_suspected: bool = False


class Guard(Protocol):
    """Guards every request that is really sent."""

    async def __call__(
        self, call: PlannedCall[SentT], probe: PlannedCall[SentT] | None = None
    ) -> SentT:
        """Send a request, or raise an `AletheiaError` instead.

        `probe`: a harmless request, which separates a provider's faults from those of requests.
        It is sent where the request fails twice with a 5xx, a 424 or a bad answer, a suspected
        one once, and nothing else passes meanwhile, and in its place while the breaker lets only
        one call try.

        The guard's own errors: `Deferred`, and `ComputeFailed`, `provider_cannot`, if the request
        fails each time and others pass.
        """
        ...

    async def capacity(
        self, provider: str, model: str, kind: Kind, requests: Sequence[Sequence[int]]
    ) -> int:
        """Return how many inputs, from the first, could be sent now; `Deferred` if none.

        `requests`: by request that would be sent, tokens of each input in it, at most.
        """
        ...


class Unguarded:
    """A `Guard` that sends every request."""

    async def __call__(
        self, call: PlannedCall[SentT], probe: PlannedCall[SentT] | None = None
    ) -> SentT:
        """Send a request."""
        del probe
        return await call.send()

    async def capacity(
        self, provider: str, model: str, kind: Kind, requests: Sequence[Sequence[int]]
    ) -> int:
        """Return the number of all inputs."""
        del provider, model, kind
        return sum(map(len, requests))


unguarded: Final = Unguarded()
