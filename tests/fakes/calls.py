"""What lies around requests to models, and keeps what it saw."""

from collections.abc import Awaitable, Callable
from typing import Any

from aletheia.errors import AletheiaError
from aletheia.llm.calls import CallPlan, Probe, SentT, Unguarded


class Recorder(Unguarded):
    """Sends every request, but for those it is told to refuse.

    Args:
        refusals: what the first requests end with in place of being sent; `None` sends one.

    Attributes:
        plans: every request, also those refused.
        called: what those that were sent brought.
    """

    def __init__(self, *refusals: AletheiaError | None) -> None:
        self.plans: list[CallPlan] = []
        self.called: list[Any] = []
        self._refusals = list(refusals)

    async def __call__(
        self,
        plan: CallPlan,
        send: Callable[[], Awaitable[SentT]],
        *,
        reach: Callable[[], Awaitable[None]] | None = None,  # noqa: ARG002 - the protocol has it
        probe: Probe[SentT] | None = None,  # noqa: ARG002 - the protocol has it
    ) -> SentT:
        """Send a request, or refuse it."""
        self.plans.append(plan)
        refusal = self._refusals.pop(0) if self._refusals else None
        if refusal is not None:
            raise refusal
        sent = await send()
        self.called.append(sent)
        return sent
