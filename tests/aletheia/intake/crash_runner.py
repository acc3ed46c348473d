"""Runs shifts in child processes that kill themselves at a chosen step.

Reads one JSON object a line: `{"url", "directory", "log", "kill_at", "lease_s"}`. Forks, works one
shift in the child, and prints `{"steps", "signal"}`. A step is any moment before or after a call
that leaves the process: a write to the store, a request to the upstream, a computation.
"""

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.sign_in import NoSignIn
from aletheia.analysis.processor import Finished
from aletheia.documents import Document, Update
from aletheia.intake.held_claims import Pace
from aletheia.intake.ledger import Ledger
from aletheia.intake.pipeline import drain
from aletheia.intake.shift import Shift
from aletheia.settings import IntakeSettings
from tests.fakes.killing import Steps, serve_orders


class SteppedDocuments(EmbeddedDocuments):
    """The real store, with a step before and after each write."""

    def __init__(self, directory: Path, steps: Steps) -> None:
        super().__init__(directory)
        self._steps = steps

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        self._steps.pass_one()
        done = await super().insert(collection, documents)
        self._steps.pass_one()
        return done

    async def update(self, collection: str, updates: Sequence[Update]) -> list[bool]:
        self._steps.pass_one()
        done = await super().update(collection, updates)
        self._steps.pass_one()
        return done


class SteppedUpstream(HttpUpstream):
    """The real client, with a step before and after each report."""

    def __init__(self, url: str, steps: Steps) -> None:
        super().__init__(url, sign_in=NoSignIn(), retry_base_s=0)
        self._steps = steps

    async def report(self, task_id: str, body: bytes) -> None:
        self._steps.pass_one()
        await super().report(task_id, body)
        self._steps.pass_one()


class LoggingProcessors:
    """Computes results no two of which are equal, and logs each computation to a file."""

    def __init__(self, log: Path, steps: Steps) -> None:
        self._log, self._steps = log, steps

    def admit(self, task_type: str, task_input: Mapping[str, Any]) -> str:
        del task_type, task_input
        return "m"

    async def room(self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]) -> int:
        del task_type, group
        return len(inputs)

    async def process(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        del task_type, group
        for index, one in enumerate(inputs):
            self._steps.pass_one()
            with self._log.open("a") as log:
                log.write(f"{one['text']}\n")
            nonce = os.urandom(8).hex()
            yield [Finished(index, {"nonce": nonce}, {"model": "m"}, {"tokens": 1})]


async def work_shift(order: dict[str, Any], steps: Steps) -> None:
    """Work one shift until nothing is left to do now."""
    documents = SteppedDocuments(Path(order["directory"]), steps)
    await documents.open()
    settings = IntakeSettings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        lease_seconds=order["lease_s"],
        clock_skew_seconds=0,
    )
    ledger = Ledger.from_settings(documents, settings, owner=str(os.getpid()))
    await ledger.prepare()
    upstream = SteppedUpstream(order["url"], steps)
    await upstream.open()
    processors = LoggingProcessors(Path(order["log"]), steps)
    shift = Shift(upstream, ledger, processors, Pace(batch=4, backoff_s=0), ledger.clock)
    async with shift.holding():
        await drain(shift.collector.collect, shift.process)
    await upstream.close()
    await documents.close()


if __name__ == "__main__":
    serve_orders(work_shift)
