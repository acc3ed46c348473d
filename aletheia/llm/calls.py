"""The seam around every request to a model: limits, budget and breaker lie there.

What sends a request describes it first, as a `CallPlan`, and hands over the sending itself.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from aletheia.llm.prices import Kind, Tokens


@dataclass(frozen=True, slots=True)
class CallPlan:
    """A request that is about to be sent.

    Attributes:
        provider: such as `openrouter`.
        model: the model asked for.
        kind: what for.
        key: hash of what is asked, so that a call that is repeated after a crash is recognised.
        most: what the provider may count at most.
        texts: how many texts it carries.
    """

    provider: str
    model: str
    kind: Kind
    key: str
    most: Tokens
    texts: int = 1


class Sent(Protocol):
    """What a request brought, as far as the seam looks at it."""

    @property
    def used(self) -> Tokens:
        """What the provider counted, or else our upper estimate."""
        ...

    @property
    def is_estimate(self) -> bool:
        """Whether the provider counted nothing."""
        ...

    @property
    def model(self) -> str:
        """What ran, in the provider's words."""
        ...


SentT = TypeVar("SentT", bound=Sent)


class Around(Protocol):
    """Wraps every request that is really sent."""

    async def __call__(
        self,
        plan: CallPlan,
        send: Callable[[], Awaitable[SentT]],
        *,
        reach: Callable[[], Awaitable[None]] | None = None,
    ) -> SentT:
        """Send a request, or raise an `AletheiaError` instead.

        Args:
            plan: the request.
            send: sends it.
            reach: sees whether the provider can be reached at all, without asking it anything; it
                raises `Unreachable` if not.

        It raises no `InvalidTask` or `ComputeFailed` of its own: those would be taken for the
        provider's word on an input.
        """
        ...

    async def room(
        self, provider: str, model: str, kind: Kind, requests: Sequence[Sequence[int]]
    ) -> int:
        """Say for how many inputs, from the first, there would be room now; charges nothing.

        Args:
            provider: who would be asked.
            model: for which model.
            kind: what for.
            requests: by request that would be sent, tokens of each input in it, at most.

        Raises:
            Deferred: for none of them; it says why, and until when.
        """
        ...


class JustSend:
    """Sends every request without asking anything."""

    async def __call__(
        self,
        plan: CallPlan,  # noqa: ARG002
        send: Callable[[], Awaitable[SentT]],
        *,
        reach: Callable[[], Awaitable[None]] | None = None,  # noqa: ARG002
    ) -> SentT:
        """Send a request."""
        return await send()

    async def room(
        self,
        provider: str,  # noqa: ARG002
        model: str,  # noqa: ARG002
        kind: Kind,  # noqa: ARG002
        requests: Sequence[Sequence[int]],
    ) -> int:
        """Have room for everything."""
        return sum(map(len, requests))


just_send: Final = JustSend()
