"""The end of the demo: a reasoning run over everything that it did, checked figure by figure."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.gather.run_records import RUNS
from aletheia.reasoning.actions import describe_dry_run
from aletheia.reasoning.catalogue import listed_paths, measure_of
from aletheia.reasoning.history import History
from aletheia.reasoning.models import AIReasoningOutput
from deployments.console import console
from deployments.demo.runs import conclude, show_links, titled_table, watch
from deployments.demo.tasks import read_upstream
from deployments.examples import platform
from deployments.local import Local
from deployments.steps import Steps
from deployments.up import SYSTEM_REASONING, request_run

_METRICS: Final = "additional_metrics"
GATHERED: Final = f"{_METRICS}.gather.last_items_created"
OF_GATHER: Final[Mapping[str, str]] = {
    GATHERED: "items_created",
    f"{_METRICS}.gather.last_departments_processed": "departments_processed",
    f"{_METRICS}.gather.last_iterations": "iterations",
}
"""What a gather run reports, by snapshot path."""

_FIGURE: Final = re.compile(r"\d[\d,.]*\d|\d")

EXPECTED: Final = ("publish_rate_low", "queue_failures")
"""Rules that find something: the example platform fails to publish, and the broken tasks are dead
letters, which a step of the plan would replay."""

MAX_SHOWN: Final = 5
"""Recommendations that are shown."""


async def run_reasoning(local: Local, steps: Steps) -> bool:
    """Reason about what the demo did and print it; return whether every figure is right."""
    _introduce()
    documents = EmbeddedDocuments(local.directory)
    await documents.open()
    try:
        with steps.step("Save the example platform: publications, clips, campaigns, alerts"):
            await save_platform(documents, datetime.now(UTC))
        with steps.step("Run system_reasoning once (shift_seconds=0)") as step:
            run = request_run(local, SYSTEM_REASONING, {"shift_seconds": 0})
            for state in watch(local, run, SYSTEM_REASONING, step):
                steps.say(f"run {state}")
        output = await History(documents).newest()
        truth = await read_truth(documents, read_upstream(local, "/stats"))
        if output is not None:
            truth |= count_runs(local, output.timestamp)
    finally:
        await documents.close()
    is_as_expected = show(output, truth, expected=EXPECTED)
    show_links(local, run, "The reasoning")
    return is_as_expected


async def save_platform(documents: EmbeddedDocuments, now: datetime) -> None:
    """Save the example platform's documents, as the platform itself would."""
    for collection, rows in platform.build_platform(now).items():
        await documents.insert(collection, [dict(row) for row in rows])


async def read_truth(documents: EmbeddedDocuments, stats: Mapping[str, Any]) -> dict[str, float]:
    """Return what the demo did, by snapshot path, from where it happened."""
    states: Mapping[str, int] = stats.get("by_state", {})
    done = platform.SUCCEEDED + platform.FAILED
    truth: dict[str, float] = {
        "queue_success": states.get("succeeded", 0),
        "queue_failed": states.get("failed", 0),
        "queue_pending": 0,
        "queue_processing": 0,
        "publish_total_24h": done,
        "publish_failed_24h": platform.FAILED,
        "publish_success_rate": round(platform.SUCCEEDED / done, 6),
        "clips_ready": platform.CLIPS_READY,
        "clips_pending_analysis": platform.CLIPS_PENDING,
        "campaigns_active": platform.CAMPAIGNS_ACTIVE,
        "campaigns_draft": platform.CAMPAIGNS_DRAFT,
        "alerts_warning": platform.WARNINGS,
        "alerts_critical": 0,
    }
    runs = await documents.find(RUNS, {}, sort="opened_at", descending=True, limit=1)
    if runs and runs[0].get("report"):
        truth |= {path: runs[0]["report"][name] for path, name in OF_GATHER.items()}
    return truth


def count_runs(local: Local, at: datetime) -> dict[str, float]:
    """Return what Prefect has of the demo's runs, by snapshot path, as it was at a moment."""

    def count(runs: Mapping[str, Any]) -> int:
        return int(local.api.call("POST", "/flow_runs/count", {"flow_runs": runs}) or 0)

    failed = {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}
    return {
        "orchestrator_actions_last_24h": count({"start_time": {"before_": at.isoformat()}}),
        "jobs_failed": count({**failed, "end_time": {"before_": at.isoformat()}}),
        f"{_METRICS}.prefect.workers_online": 1,
    }


def find_problems(output: AIReasoningOutput | None, truth: Mapping[str, float]) -> list[str]:
    """Return what a reasoning run has wrong, a sentence each."""
    if output is None:
        return ["no reasoning run was saved"]
    view, said = output.snapshot.view, " ".join(output.summary.key_insights)
    problems = [
        f"{path} is {view.number(path)}, not {value:g}"
        for path, value in truth.items()
        if view.number(path) != value
    ]
    problems += [
        f"source {name} failed: {error}" for name, error in output.snapshot.failed_sources.items()
    ]
    for path in ("queue_success", GATHERED):
        measure = measure_of(path)
        if path in truth and measure is not None and measure.phrase(truth[path]) not in said:
            problems.append(f"the summary does not say {measure.phrase(truth[path])!r}")
    return problems + [
        f"the summary says {figure}, which is no figure of the snapshot"
        for figure in find_odd_figures(output)
    ]


def find_odd_figures(output: AIReasoningOutput) -> list[str]:
    """Return figures of a summary that no listed value of its snapshot has."""
    view, summary = output.snapshot.view, output.summary
    known = {f"{summary.health_score:.0f}", "100", "24", str(len(output.findings))}
    for path in listed_paths(view):
        if (measure := measure_of(path)) is not None:
            known.update(_FIGURE.findall(measure.amount(view.number(path) or 0)))
    for problem in output.findings:
        known.update(_FIGURE.findall(problem.text))
    sentences = (*summary.key_insights, *summary.concerns, *summary.positives)
    return [it for it in _FIGURE.findall(" ".join(sentences)) if it not in known]


def find_missing(output: AIReasoningOutput, expected: Collection[str]) -> list[str]:
    """Return which rules found nothing though they should have, a sentence each."""
    found = {problem.id for problem in output.findings}
    return [f"the rule {id_} found nothing" for id_ in expected if id_ not in found]


def show(
    output: AIReasoningOutput | None,
    truth: Mapping[str, float],
    *,
    expected: Collection[str] = (),
) -> bool:
    """Print a reasoning run; return whether it is as it should be.

    `expected`: rules that should have found something, beside any others.
    """
    problems = find_problems(output, truth)
    if output is not None:
        problems += find_missing(output, expected)
        _show_summary(output)
        _show_plan(output)
    success = (
        f"{len(truth)} figures are right by upstream, store, Prefect and platform;\n"
        "  the summary has no figure that is not one of the snapshot."
    )
    return conclude("The reasoning run has something wrong:", problems, success)


def _show_summary(output: AIReasoningOutput) -> None:
    summary = output.summary
    console.print(
        f"\n  Health: [bold]{summary.overall_health}[/], {summary.health_score:.0f} of 100, "
        f"explained by {escape(output.explained_by)}{' (mock)' if output.mock else ''}"
    )
    for title, sentences in (
        ("", summary.key_insights),
        ("Concerns", summary.concerns),
        ("Going well", summary.positives),
    ):
        _show_sentences(title, sentences)
    if output.recommendations:
        table = titled_table("What to do", "priority", "what", "impact", "action")
        for item in output.recommendations[:MAX_SHOWN]:
            action = item.action_type or "by a person"
            table.add_row(item.priority, escape(item.title), escape(item.impact), action)
        console.print()
        console.print(table)


def _show_plan(output: AIReasoningOutput) -> None:
    """Print what each step of the plan would do; nothing is done before somebody approves it."""
    if not output.action_plan.steps:
        return
    console.print("\n  [bold]Plan[/], which waits for an approval on the page System")
    for step in output.action_plan.steps:
        does = "for a person"
        if step.automated:
            does = "would " + describe_dry_run(step.action, step.payload, output.snapshot.view)
        said = Text(f"{step.step}. {step.description} ({does})")
        console.print(Padding(said, (0, 4)))


def _show_sentences(title: str, sentences: Sequence[str]) -> None:
    if title and sentences:
        console.print(f"\n  [bold]{title}[/]")
    for sentence in sentences:
        console.print(Padding(Text(f"• {sentence}"), (0, 4)))


def _introduce() -> None:
    console.print(
        "\n[bold]3. Reasoning[/]\n\nThe deployment system_reasoning reads every source of the "
        "system into a snapshot. Rules find what needs attention, a model (here the mock) explains "
        "it in claims that code checks and fills in, and recommendations and a plan follow.\n"
    )
