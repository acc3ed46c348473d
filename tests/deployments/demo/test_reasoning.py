"""The end of the demo compares every figure with what was done."""

from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from deployments.demo.reasoning import (
    EXPECTED,
    GATHERED,
    count_runs,
    find_missing,
    find_problems,
    read_truth,
    save_platform,
    show,
)
from deployments.local import Local
from deployments.local_runs import ServerApi
from tests.aletheia.conftest import documents
from tests.fakes.clock import MovableClock
from tests.fakes.reasoning import AT, HEALTHY, Sources, make_reasoner

__all__ = ["documents"]

STATS: dict[str, Any] = {"by_state": {"succeeded": 300, "failed": 2}}
TRUTH = {"queue_success": 300, "queue_failed": 2, GATHERED: 42}


async def run(documents: EmbeddedDocuments) -> Any:
    reasoner = make_reasoner(documents, Sources(), MovableClock())
    await reasoner.prepare()
    return await reasoner.run()


async def test_a_right_answer_has_no_problem(documents: EmbeddedDocuments):
    output = await run(documents)
    assert find_problems(output, TRUTH) == []
    assert show(output, TRUTH)


async def test_a_wrong_figure_is_named(documents: EmbeddedDocuments):
    output = await run(documents)
    problems = find_problems(output, {**TRUTH, "queue_success": 301})
    assert "queue_success is 300, not 301" in problems
    assert not show(output, {**TRUTH, "queue_success": 301})


async def test_a_figure_that_the_snapshot_does_not_have_is_named(documents: EmbeddedDocuments):
    output = await run(documents)
    said = (*output.summary.key_insights, "There are 12,345 tasks.")
    summary = output.summary.model_copy(update={"key_insights": said})
    odd = "the summary says 12,345, which is no figure of the snapshot"
    assert find_problems(output.model_copy(update={"summary": summary}), TRUTH) == [odd]


def test_runs_are_counted_by_prefect_as_they_were_when_the_snapshot_was_taken(tmp_path: Path):
    asked: list[Any] = []

    class Api(ServerApi):
        def call(self, method: str, path: str, body: object = None) -> Any:
            asked.append((method, path, body))
            return 0 if "state" in str(body) else 7

    class Known(Local):
        @property
        def api(self) -> ServerApi:
            return Api(None)

    found = count_runs(Known(tmp_path), AT)
    assert (found["orchestrator_actions_last_24h"], found["jobs_failed"]) == (7, 0)
    assert all(AT.isoformat() in str(body) for _, _, body in asked)


async def test_a_rule_that_should_have_found_something_is_named(
    documents: EmbeddedDocuments, capsys: pytest.CaptureFixture[str]
):
    output = await run(documents)
    assert find_missing(output, EXPECTED) == [f"the rule {id_} found nothing" for id_ in EXPECTED]
    assert not show(output, TRUTH, expected=EXPECTED)
    assert "the rule queue_failures found nothing" in capsys.readouterr().out


async def test_the_plan_is_shown_with_what_its_steps_would_do(
    documents: EmbeddedDocuments, capsys: pytest.CaptureFixture[str]
):
    reasoner = make_reasoner(documents, Sources({**HEALTHY, "queue_failed": 12}), MovableClock())
    await reasoner.prepare()
    assert show(await reasoner.run(), {"queue_failed": 12}, expected=["queue_failures"])
    said = " ".join(capsys.readouterr().out.split())
    assert "waits for an approval on the page System" in said
    assert "would replay 12 dead letters" in said


async def test_no_answer_is_a_problem():
    assert find_problems(None, TRUTH) == ["no reasoning run was saved"]


async def test_the_truth_comes_from_where_it_happened(documents: EmbeddedDocuments):
    await save_platform(documents, AT)
    truth = await read_truth(documents, STATS)
    assert (truth["queue_success"], truth["queue_failed"]) == (300, 2)
    assert GATHERED not in truth
    assert await documents.count("publish_history", {}) == 65
