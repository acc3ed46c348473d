"""What events are delivered through: sinks, one for each kind of receiver."""

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from aletheia.events.log import SavedEvent

REDIS: Final = "redis"
WEBHOOK: Final = "webhook"
"""Kinds of receivers, as errors and cursors call them."""


class EventSink(Protocol):
    """Sends events to receivers of one kind, such as Redis or webhooks."""

    async def send(self, address: str, event: SavedEvent) -> None:
        """Send one event and return when the receiver has it.

        The address is empty where there is only one receiver.

        Raises:
            Refused: the receiver will never take this event.
            InvalidTask: likewise.
            AletheiaError: anything else; it may take it later.
        """
        ...


@runtime_checkable
class BatchSink(EventSink, Protocol):
    """Sends several events at once, and lets them gather for a while, since each sending costs."""

    async def send_all(self, address: str, events: Sequence[SavedEvent]) -> None:
        """Send some events, and return when the receiver has all of them; see `send`."""
        ...
