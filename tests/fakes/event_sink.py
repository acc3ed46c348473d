"""A sink that remembers what it was given, and fails on demand."""

import asyncio
from pathlib import Path

from aletheia.errors import AletheiaError
from aletheia.gather.events import KeptEvent


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

    async def send(self, address: str, event: KeptEvent) -> None:
        """Take an event."""
        self.tries += 1
        if self.is_hanging:
            await asyncio.Event().wait()
        fault = self._faults.pop(0) if self._faults else self.fault
        if fault is not None:
            raise fault
        self.given.append((address, event.seq))


class FileSink:
    """Writes the number of each event it takes as a line of a file, so that processes may share it.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, address: str, event: KeptEvent) -> None:
        """Take an event."""
        del address
        with self._path.open("a") as file:
            file.write(f"{event.seq}\n")
        await asyncio.sleep(0)
