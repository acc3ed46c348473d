"""The flow `process_lane` on a real Prefect server, with a package that adds a type to the lane."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from aletheia.intake.ledger import Ledger
from aletheia.intake.workers import Workers
from deployments import ROOT
from flows.lane import process_lane
from flows.poll import poll_tasks
from tests.fakes.upstream import FakeUpstream
from tests.flows.command_line import command
from tests.flows.conftest import artifacts, last_run

DONE = ["processing", "succeeded"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example package, as if it were installed."""
    metadata = tmp_path / "installed" / "word_frequency-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: word-frequency\nVersion: 1\n")
    entry = "word_frequency = word_frequency.processor:WordFrequency"
    (metadata / "entry_points.txt").write_text(f"[aletheia.processors]\n{entry}\n")
    folders = [str(metadata.parent), str(ROOT / "examples" / "word-frequency")]
    monkeypatch.setattr(sys, "path", [*folders, *sys.path])
    monkeypatch.delitem(sys.modules, "word_frequency", raising=False)


pytestmark = pytest.mark.usefixtures("package")


def add(upstream: FakeUpstream, task_id: str, text: str = "a b a") -> None:
    upstream.add(task_id, text, type="word_frequency")


async def test_a_shift_hands_over_and_a_worker_works_off(upstream: FakeUpstream, ledger: Ledger):
    add(upstream, "t1")
    upstream.add("short")
    report = await poll_tasks(shift_seconds=0)
    assert (report.tally.handed_over, report.tally.succeeded) == (1, 1)
    assert upstream.states == {"t1": ["processing"], "short": DONE}
    report = await process_lane("llm", shift_seconds=0)
    assert (report.ended, report.tally.succeeded) == ("drained", 1)
    result = json.loads(upstream.bodies["t1"][-1])["result"]
    assert result["words"][0] == {"word": "a", "count": 2}
    run = await last_run("process_lane")
    assert len(await artifacts("shift-report", run.id)) == 1
    workers = await Workers(ledger.rows.documents).newest()
    assert {(worker.lane, worker.state) for worker in workers} == {
        ("intake", "ended"),
        ("llm", "ended"),
    }


async def test_a_worker_takes_what_comes_while_it_waits(upstream: FakeUpstream):
    running = asyncio.create_task(process_lane("llm", shift_seconds=8))
    await asyncio.sleep(1)
    add(upstream, "t1")
    await poll_tasks(shift_seconds=0)
    report = await running
    assert (report.ended, report.tally.succeeded) == ("time_over", 1)
    assert upstream.states == {"t1": DONE}


async def test_another_lane_leaves_it_alone(upstream: FakeUpstream):
    add(upstream, "t1")
    await poll_tasks(shift_seconds=0)
    report = await process_lane("media", shift_seconds=0)
    assert report.tally.succeeded == 0
    assert upstream.states == {"t1": ["processing"]}


async def test_one_input_is_tried_and_nothing_is_reported(upstream: FakeUpstream):
    tried = await command("try", "word_frequency", '{"text": "a b a", "top": 1}')
    assert tried.exit_code == 0, tried.output
    assert json.loads(tried.stdout)["result"] == {"words": [{"word": "a", "count": 2}], "total": 3}
    refused = await command("try", "word_frequency", '{"text": " "}')
    assert refused.exit_code == 1
    assert "the text is empty" in refused.output
    assert upstream.requests == []


async def test_who_computes_is_listed(upstream: FakeUpstream):
    add(upstream, "t1")
    await poll_tasks(shift_seconds=0)
    await process_lane("llm", shift_seconds=0)
    listed = await command("workers", "--json")
    found = {worker["lane"]: worker for worker in json.loads(listed.stdout)}
    assert set(found["llm"]["types"]) == {"text_summarization", "translation", "word_frequency"}
    assert found["llm"]["succeeded"] == 1
    assert set(found["intake"]["types"]) == {"sentiment_analysis", "text_embedding"}
