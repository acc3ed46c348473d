"""Runs a shift, and then a worker of a lane, in child processes that kill themselves at a step.

Serves the orders of `tests.crash.harness`, as `crash_runner` does; every task is of lane `media`.
"""

import os
from pathlib import Path
from typing import Any

from aletheia.analysis.processor import Lane
from aletheia.intake.lanes.worker import LaneCollector, LaneWorker
from aletheia.intake.ledger import Ledger
from aletheia.intake.pipeline import drain_slots
from aletheia.intake.poller import Poller
from aletheia.settings import IntakeSettings
from tests.aletheia.intake.crash_runner import LoggingProcessors, SteppedUpstream, run_shift
from tests.crash.harness import Steps, serve_orders
from tests.fakes.documents import SteppedDocuments


class MediaProcessors(LoggingProcessors):
    """Processors whose types are all of lane `media`, one input a call."""

    def lane(self, task_type: str) -> Lane:
        del task_type
        return "media"

    def inputs_per_call(self, task_type: str) -> int | None:
        del task_type
        return 1


class FileCallbacks:
    """Notes each callback in a file, a line each, with a step before and after it."""

    def __init__(self, file: Path, steps: Steps) -> None:
        self._file, self._steps = file, steps

    async def post(self, address: str, body: bytes, event_id: str) -> None:
        del address
        self._steps.pass_one()
        with self._file.open("ab") as file:
            file.write(event_id.encode() + b" " + body + b"\n")
        self._steps.pass_one()


async def work_lane(order: dict[str, Any], steps: Steps) -> None:
    """Work one shift, and then the lane, until nothing is left to do now."""
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
    upstream = SteppedUpstream(order["url"], steps)
    await upstream.open()
    processors = MediaProcessors(Path(order["log"]), steps)
    callbacks = FileCallbacks(Path(order["directory"]) / "callbacks", steps)
    owner = str(os.getpid())
    ledger = Ledger(documents, settings, owner=owner)
    await run_shift(Poller(upstream, ledger, processors, callbacks=callbacks))
    ledger = Ledger(documents, settings, owner=f"{owner} in the lane", lane="media")
    await run_worker(LaneWorker(upstream, ledger, processors, "media", callbacks=callbacks))
    await upstream.close()
    await documents.close()


async def run_worker(worker: LaneWorker) -> None:
    """Take the steps of `flows.lane` until nothing is left to take."""
    collector = worker.collector
    assert isinstance(collector, LaneCollector)
    async with worker.holding():
        await drain_slots(
            collector.collect,
            worker.process,
            slots=1,
            has_work=collector.has_work,
            poll_s=0.01,
        )


if __name__ == "__main__":
    serve_orders(work_lane)
