"""The command `workers`."""

import json
from datetime import UTC, datetime

from aletheia.intake.workers import Worker
from deployments.workers import show_workers
from tests.deployments.printing import printed

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
WORKER = Worker(
    id="host/7/run",
    lane="media",
    types=("audio_analysis", "speech_to_text"),
    state="working",
    tasks=("t[1]",),
    succeeded=1200,
    failed=3,
    since=AT,
    seen_at=AT,
)


def show(workers: list[Worker], *, as_json: bool = False) -> str:
    return " ".join(printed(lambda: show_workers(workers, as_json=as_json)).split())


def test_a_worker_is_shown_with_what_it_does():
    shown = show([WORKER])
    assert "host/7/run media working" in shown
    assert "1,200 3 t[1]" in shown


def test_workers_can_be_had_as_json():
    (found,) = json.loads(show([WORKER], as_json=True))
    assert (found["lane"], found["types"]) == ("media", ["audio_analysis", "speech_to_text"])


def test_that_there_are_none_is_said():
    assert show([]) == "No worker was heard of during the last day."
