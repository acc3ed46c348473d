"""A sink that remembers what it was given, and fails on demand."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from aletheia.errors import AletheiaError, Refused
from aletheia.events.log import SavedEvent


class FakeSink:
    """Takes events.

    Attributes:
        given: address and number of each event it took, in order.
        tries: how often it was asked.
        fault: what every sending fails with while it is set.
        is_hanging: sendings do not return.
    """

    def __init__(self) -> None:
        self.given: list[tuple[str, int]] = []
        self.tries = 0
        self.fault: AletheiaError | None = None
        self.is_hanging = False
        self._faults: list[Exception | None] = []

    @property
    def numbers(self) -> list[int]:
        """Numbers of the events it took, in order."""
        return [seq for _, seq in self.given]

    def fail_next(self, *faults: Exception | None) -> None:
        """Fail the next sendings like this; `None` lets one through."""
        self._faults += faults

    async def send(self, address: str, event: SavedEvent) -> None:
        """Take an event."""
        self.tries += 1
        if self.is_hanging:
            await asyncio.Event().wait()
        fault = self._faults.pop(0) if self._faults else self.fault
        if fault is not None:
            raise fault
        self.given.append((address, event.seq))


class FakeBatchSink(FakeSink):
    """Takes several events at once, all of them or none.

    Attributes:
        sizes: how many events each sending had that was taken.
        refused: numbers of events that it never takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.refused: set[int] = set()

    async def send(self, address: str, event: SavedEvent) -> None:
        """Take an event."""
        await self.send_all(address, [event])

    async def send_all(self, address: str, events: Sequence[SavedEvent]) -> None:
        """Take some events."""
        if not self.refused.isdisjoint(event.seq for event in events):
            raise Refused("batches", 422, "one of them is wrong")
        for event in events:
            await super().send(address, event)
        self.sizes.append(len(events))


class FileSink:
    """Writes the number of each event it takes as a line of a file, so that processes may share it.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, address: str, event: SavedEvent) -> None:
        """Take an event."""
        del address
        with self._path.open("a") as file:
            file.write(f"{event.seq}\n")
        await asyncio.sleep(0)
