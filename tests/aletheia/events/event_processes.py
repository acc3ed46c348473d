"""What processes do with the log of events; some of them die at a chosen step.

Run as a program it serves the orders of `tests.crash.harness`, each `{"directory", "work", "sent",
"kill_at"}`.
"""

import os
from pathlib import Path
from typing import Any

from aletheia.documents import Documents
from aletheia.events.delivery import FanOut, Pace
from aletheia.events.log import EventLog
from aletheia.events.models import (
    AutomationComplete,
    Deduplicating,
    DepartmentComplete,
    DepartmentStarted,
    Event,
    IterationComplete,
)
from tests.crash.harness import Steps, serve_orders
from tests.fakes.documents import SteppedDocuments
from tests.fakes.event_sink import FileSink

PROJECT = "p1"
LEASE_S = 0.1


def started(project_id: str = PROJECT, department: str = "legal") -> DepartmentStarted:
    return DepartmentStarted(
        project_id=project_id,
        department=department,
        department_name="Legal",
        threshold=80,
        model="openai/gpt-5-mini",
    )


def iterated(
    iteration: int, project_id: str = PROJECT, department: str = "legal"
) -> IterationComplete:
    return IterationComplete(
        project_id=project_id,
        department=department,
        department_name="Legal",
        iteration=iteration,
        total_iterations=iteration,
        quality_score=61.5,
        items_created=4,
        threshold=80,
    )


def finished(project_id: str = PROJECT) -> AutomationComplete:
    return AutomationComplete(
        project_id=project_id,
        total_iterations=2,
        departments_processed=1,
        items_created=8,
        summary=(),
    )


def story() -> list[tuple[Event, int]]:
    """What a short run says, in order, and the iteration of each where it does not say."""
    return [
        (started(), 0),
        (Deduplicating(project_id=PROJECT, department="legal"), 1),
        (iterated(1), 0),
        (Deduplicating(project_id=PROJECT, department="legal"), 2),
        (iterated(2), 0),
        (
            DepartmentComplete(
                project_id=PROJECT,
                department="legal",
                department_name="Legal",
                quality_score=84,
                iterations_used=2,
            ),
            0,
        ),
        (finished(), 0),
    ]


async def emit(documents: Documents, run_id: str) -> list[int]:
    """Add all events of a run, and return their numbers."""
    log = EventLog(documents)
    return [
        (await log.append(event, run_id=run_id, iteration=iteration)).seq
        for event, iteration in story()
    ]


async def emit_with_others(documents: Documents, plan: tuple[str, int]) -> list[int]:
    """Add events that others add, too, with some of one's own between."""
    run_id, rounds = plan
    log = EventLog(documents)
    numbers: list[int] = []
    for iteration in range(1, rounds + 1):
        numbers.append((await log.append(iterated(iteration), run_id=run_id)).seq)
        own = iterated(iteration, department=f"of {os.getpid()}")
        numbers.append((await log.append(own, run_id=run_id)).seq)
    return numbers


async def feed(documents: Documents, path: str) -> int:
    """Feed a file until nothing is left, as its lease allows."""
    fan_out = FanOut(
        documents,
        {"file": FileSink(Path(path))},
        pace=Pace(lease_s=LEASE_S, skew_s=0, backoff_s=0),
    )
    return await fan_out.feed()


async def _work(order: dict[str, Any], steps: Steps) -> None:
    documents = SteppedDocuments(Path(order["directory"]), steps)
    await documents.open()
    if order["work"] == "emit":
        await emit(documents, "run-1")
    else:
        await feed(documents, order["sent"])
    await documents.close()


if __name__ == "__main__":
    serve_orders(_work)
