"""What lies around requests to models, and keeps what it saw."""

from typing import Any

from aletheia.errors import AletheiaError
from aletheia.llm.calls import CallPlan, PlannedCall, SentT, Unguarded


class Recorder(Unguarded):
    """Sends every request, but for those it has `refusals` for.

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
        call: PlannedCall[SentT],
        probe: PlannedCall[SentT] | None = None,  # noqa: ARG002 - the protocol has it
    ) -> SentT:
        """Send a request, or refuse it."""
        self.plans.append(call.plan)
        refusal = self._refusals.pop(0) if self._refusals else None
        if refusal is not None:
            raise refusal
        sent = await call.send()
        self.called.append(sent)
        return sent
