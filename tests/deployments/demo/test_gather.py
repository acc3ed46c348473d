"""What the demo shows of a gather, and how it tells a good one from a bad one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.mock.chat import MOCK_MODEL, MockChat
from aletheia.adapters.mock.judge import WRITERS
from aletheia.adapters.payload_cms import read_departments
from aletheia.events.log import EventLog
from aletheia.gather.event_derivation import EventEmitter
from aletheia.gather.progress import GatherReport, RunOrder
from aletheia.gather.scoring import QualityScorer
from aletheia.items.content import SavedItem
from aletheia.items.decisions import KeptDecision
from aletheia.items.dedup import Decision
from aletheia.items.departments import DepartmentList
from aletheia.llm.asking import AskPlan
from aletheia.quality.embedding import QualityCounter
from aletheia.quality.evaluation_store import EVALUATIONS, EvaluationStore
from deployments.demo.gather import (
    MAX_ITERATIONS,
    PROJECT,
    opened_stores,
    read_outcome,
    save_documents,
)
from deployments.demo.gather_outcome import Outcome, draw_bars, find_problems, show
from deployments.examples.departments import EXAMPLE_DEPARTMENTS, EXAMPLE_TEXTS
from tests.aletheia.gather.gather_runner import make_deps, work_run
from tests.deployments.printing import printed

RUN = "run-1"
REPEAT = (
    KeptDecision(
        *("0123456789ab", RUN, 0, "support", "Rider support", 10, 1, 0),
        datetime(2026, 1, 1, tzinfo=UTC),
        Decision("i", False, "exact", "m", "the same text", "a", True, 1.0, 1.0),
        SavedItem("i", "Something [bold] that was said."),
    ),
    SavedItem("a", EXAMPLE_TEXTS[0]),
)


async def list_departments() -> DepartmentList:
    """List those that the example application would list."""
    return read_departments(
        [department.document for department in EXAMPLE_DEPARTMENTS if department.is_listed]
    )


async def gather(directory: Path) -> Outcome:
    """Work a run over the example's departments, with the mock that the demo has."""
    async with opened_stores(directory) as (documents, content):
        await save_documents(content)
        return await work(documents, content)


async def work(documents: EmbeddedDocuments, content: EmbeddedContent) -> Outcome:
    chat = MockChat(writers=WRITERS)
    deps = make_deps(documents, content, chat)
    deps = replace(
        deps,
        plan=replace(deps.plan, items=8),
        scorer=QualityScorer(QualityCounter(None), chat, AskPlan("a-model")),
    )
    run, _ = await work_run(deps, RunOrder(RUN, PROJECT, "demo", MAX_ITERATIONS), list_departments)
    run = await deps.runs.load(run.id)
    await EventEmitter(EventLog(documents), "a-model", mock=MOCK_MODEL).emit(run)
    evaluations = EvaluationStore(documents, PROJECT)
    for department in run.progress.departments[:2]:
        await evaluations.request(department.department, ["a"], user_id="demo", is_auto=True)
    done = {"_id": "e", "project_id": PROJECT, "department": "support", "score": 71.25}
    await documents.insert(EVALUATIONS, [done])
    return replace(await read_outcome(documents, content, RUN), repeats=[REPEAT])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What came of one run; the tests change copies of it."""
    return asyncio.run(gather(tmp_path_factory.mktemp("demo")))


def shown(outcome: Outcome, *, is_made_up: bool = False) -> tuple[bool, str]:
    verdicts: list[bool] = []
    text = printed(lambda: verdicts.append(show(outcome, is_made_up=is_made_up)), width=100)
    return verdicts[0], text


def report_of(outcome: Outcome) -> GatherReport:
    assert outcome.run.report is not None
    return outcome.run.report


def with_report(outcome: Outcome, **changes: Any) -> Outcome:
    report = report_of(outcome).model_copy(update=changes)
    return replace(outcome, run=replace(outcome.run, report=report))


def row_without(outcome: Outcome, slug: str) -> Sequence[Any]:
    return tuple(row for row in report_of(outcome).summary if row.department != slug)


def test_a_run_over_the_examples_departments_is_as_it_should_be(kept: Outcome):
    assert find_problems(kept) == []
    assert sum(kept.made.values()) == report_of(kept).items_created > 50
    assert kept.theirs == len(EXAMPLE_TEXTS)


def test_its_departments_end_in_different_ways(kept: Outcome):
    assert {
        department.department.slug: str(department.reason)
        for department in kept.run.progress.departments
    } == {
        "support": "threshold_reached",
        "onboarding": "threshold_reached",
        "safety": "no_improvement",
        "dispatch": "max_iterations_reached",
    }
    assert len(kept.run.progress.departments[0].iterations) < len(
        kept.run.progress.departments[1].iterations
    )


def test_all_of_it_is_shown_within_a_hundred_columns(kept: Outcome):
    verdict, text = shown(kept)
    assert verdict
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        "Rider support",
        "threshold reached",
        "no improvement",
        "max iterations reached",
        "Passed over: 66e000000000000000000028",
        "Something [bold] that",
        "* a document of the application.",
        "0123456789ab",
        "71.2",
        "asked for",
        "Charging stations was reported as faulty",
        "Scooter rental, closed, does not appear",
        "2 evaluations were asked for, 1 of them is done",
        "These items are made up by a mock and mean nothing",
        "1.000",
    ):
        assert words in text


def test_similarities_of_made_up_vectors_are_not_shown(kept: Outcome):
    _, text = shown(kept, is_made_up=True)
    assert "1.000" not in text
    assert "These items and vectors are made up" in text


def test_of_many_repetitions_the_first_are_shown(kept: Outcome):
    _, text = shown(replace(kept, repeats=[REPEAT] * 9))
    assert text.count("0123456789ab") == 6
    assert "3 more stand in the artifact gather-duplicates" in text


WRONG: list[tuple[Callable[[Outcome], Outcome], str]] = [
    (lambda kept: with_report(kept, status="cancelled"), "the run is cancelled"),
    (lambda kept: replace(kept, run=replace(kept.run, report=None)), "the run is open"),
    (lambda kept: with_report(kept, items_created=1), "it reports 1 items"),
    (lambda kept: replace(kept, made={**kept.made, "support": 1}), "it reports"),
    (lambda kept: with_report(kept, summary=row_without(kept, "safety")), "it worked on"),
    (lambda kept: replace(kept, mocks=0), "not marked as mock"),
    (lambda kept: replace(kept, theirs=4), "4 documents of 5 are left"),
    (lambda kept: replace(kept, faults=[]), "nothing is said of charging"),
    (lambda kept: replace(kept, repeats=[]), "nothing was dropped"),
    (lambda kept: replace(kept, events=kept.events[1:]), "the events are numbered [2, 3"),
    (lambda kept: replace(kept, events=kept.events[:-1]), "the last event is not"),
    (lambda kept: replace(kept, events=kept.events[:3]), "the events show"),
]


@pytest.mark.parametrize(("change", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_what_is_wrong_is_a_failure_and_named(
    kept: Outcome, change: Callable[[Outcome], Outcome], problem: str
):
    verdict, text = shown(change(kept))
    assert not verdict
    assert problem in text


async def test_the_documents_are_saved_once_and_belong_to_the_application(tmp_path: Path):
    async with opened_stores(tmp_path) as (_, content):
        await save_documents(content)
        await save_documents(content)
        ids = [item_id async for page in content.list_ids() for item_id in page]
        found = (await content.read_items(ids)).values()
    assert sorted(item.content for item in found) == sorted(EXAMPLE_TEXTS)
    assert all(item.automation is None for item in found)


@pytest.mark.parametrize(
    ("scores", "bars"), [([], ""), ([0.0, 100.0], "▁█"), ([12.4, 12.5, 87.4, 87.5], "▁▂▇█")]
)
def test_a_bar_is_an_eighth_of_the_scale(scores: list[float], bars: str):
    assert draw_bars(scores) == bars
