"""What intake needs from outside."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

from aletheia.analysis.processor import Finished, Lane

UPSTREAM: Final = "upstream"
"""What errors call the upstream."""

INVALID: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""What an upstream answers to a page size, or a change of state, that it does not allow."""


class Upstream(Protocol):
    """The HTTP API that hands out tasks and takes their results.

    Retries, back-off, sign-in and the bound on requests in flight are the adapter's.
    """

    async def pending(self, limit: int) -> list[object]:
        """Read one page of pending tasks, oldest first, as the JSON values that came.

        `Refused` is 400 or 422 when `limit` is too large, or another 4xx; `BadAnswer` is no page,
        or (`TooLong`) one longer than is read.
        """
        ...

    async def report(self, task_id: str, body: bytes) -> None:
        """Send one state change; `body` is the JSON object to send, byte for byte.

        `BadAnswer` is an answer that is no acknowledgement.
        """
        ...


class Callbacks(Protocol):
    """Sends the reports of pushed tasks to whoever asked for them."""

    async def post(self, address: str, body: bytes, event_id: str) -> None:
        """Send one report, signed; `body` is the same each time.

        Raises:
            Refused: the receiver will not take this report, ever.
            InvalidTask: the address can never be used.
            AletheiaError: anything else; it may take it later.
        """
        ...


class Processors(Protocol):
    """Everything that can be computed, by task type."""

    @property
    def types(self) -> Sequence[str]:
        """The task types that can be computed."""
        ...

    def admit(self, task_type: str, task_input: Mapping[str, Any]) -> str:
        """Check an input before it is claimed; return the group it is computed with."""
        ...

    async def capacity(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> int:
        """Return how many admitted inputs, from the first, may be computed now.

        `Deferred` and `Misconfigured` say that it is none, and why.
        """
        ...

    def lane(self, task_type: str) -> Lane:
        """Return the lane of a type; `intake` where it is not known."""
        ...

    def inputs_per_call(self, task_type: str) -> int | None:
        """Return how many inputs go into one call of `process` at most; `None` is no bound."""
        ...

    def process(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        """Compute inputs of one type and group, each answered once, in sets as they are done."""
        ...
