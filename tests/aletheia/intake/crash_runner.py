"""Runs shifts in child processes that kill themselves at a chosen step.

Serves the orders of `tests.crash.harness`, each `{"url", "directory", "log", "kill_at",
"lease_s"}`. A step is any moment before or after a call that leaves the process: a write to the
store, a report to the upstream, a computation.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.sign_in import NoSignIn
from aletheia.analysis.processor import Finished, Lane
from aletheia.intake.ledger import Ledger
from aletheia.intake.pipeline import drain
from aletheia.intake.poller import Poller
from aletheia.intake.shift import Shift
from aletheia.settings import IntakeSettings
from tests.crash.harness import Steps, serve_orders
from tests.fakes.documents import SteppedDocuments


class SteppedUpstream(HttpUpstream):
    """The real client, with a step before and after each report, or only after it."""

    def __init__(self, url: str, steps: Steps, *, steps_before: bool = True) -> None:
        super().__init__(url, sign_in=NoSignIn(), retry_base_s=0)
        self._steps, self._steps_before = steps, steps_before

    async def report(self, task_id: str, body: bytes) -> None:
        if self._steps_before:
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

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are computed."""
        return ("echo",)

    def lane(self, task_type: str) -> Lane:
        del task_type
        return "intake"

    def inputs_per_call(self, task_type: str) -> int | None:
        del task_type
        return None

    async def capacity(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> int:
        del task_type, group
        return len(inputs)

    async def process(
        self, task_type: str, group: str, inputs: Sequence[Mapping[str, Any]]
    ) -> AsyncGenerator[Sequence[Finished]]:
        del task_type, group
        for index, task_input in enumerate(inputs):
            self._steps.pass_one()
            with self._log.open("a") as log:
                log.write(f"{task_input['text']}\n")
            nonce = os.urandom(8).hex()
            yield [Finished(index, {"nonce": nonce}, {"model": "m"}, {"tokens": 1})]


async def work_shift(order: dict[str, Any], steps: Steps) -> None:
    """Work one shift until nothing is left to do now."""
    documents = SteppedDocuments(
        Path(order["directory"]), steps, observed=("insert", "update", "upsert")
    )
    await documents.open()
    settings = IntakeSettings(
        _env_file=None,  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
        lease_seconds=order["lease_s"],
        clock_skew_seconds=0,
        retry_base_seconds=0,
    )
    ledger = Ledger(documents, settings, owner=str(os.getpid()))
    upstream = SteppedUpstream(order["url"], steps)
    await upstream.open()
    processors = LoggingProcessors(Path(order["log"]), steps)
    poller = Poller(upstream, ledger, processors, batch=4)
    await run_shift(poller)
    await upstream.close()
    await documents.close()


async def run_shift(poller: Poller) -> None:
    """Take the steps of `flows.poll` for a shift that ticks once."""
    shift = await Shift.begin(poller, str(os.getpid()), length_s=0, interval_s=1)
    async with poller.holding():
        while await shift.next_tick(asyncio.sleep):
            await drain(shift.collect, shift.process)


if __name__ == "__main__":
    serve_orders(work_shift)
