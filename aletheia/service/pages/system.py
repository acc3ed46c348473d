"""The page *System*: how the system is, what was found, what to do about it."""

from collections.abc import Mapping
from typing import Final

from nicegui import Client, ui
from pydantic import RootModel
from starlette.requests import Request

from aletheia.reasoning.models import AIReasoningOutput, AIRecommendation, Decision, FoundProblem
from aletheia.service.pages.calls import join_path
from aletheia.service.pages.curves import draw_curve
from aletheia.service.pages.frame import Answer, Page, Question, add_facts
from aletheia.service.pages.mounting import Visit
from aletheia.service.pages.plan import add_plan
from aletheia.service.pages.words import say_number, say_scores, say_time, say_title
from aletheia.service.reasoning import PREFIX, AIRunResponse, Decided, PlanState, ReasoningHistory
from aletheia.service.roles import MANAGERS

MAX_HISTORY: Final = 200
"""Runs in the curve."""

CURVE_WIDTH: Final = 640
SNOOZE_HOURS: Final = 24

CHECK: Final = Question(
    "Check the system now?",
    [
        (
            "The figures are read, the rules are asked, and a model may be paid to explain what "
            "they found. It takes some seconds; it happens by itself every now and then anyway."
        )
    ],
    "Check now",
)

HEALTH_CLASSES: Final[Mapping[str, str]] = {
    "excellent": "good",
    "good": "good",
    "warning": "warn",
    "critical": "bad",
}
SEVERITY_CLASSES: Final[Mapping[str, str]] = {
    "critical": "bad",
    "high": "bad",
    "medium": "warn",
    "low": "soft",
}
_DECIDED: Final[Mapping[str, str]] = {
    "accepted": "Accepted.",
    "dismissed": "Dismissed.",
    "snoozed": "Snoozed: it comes back later.",
}


def register() -> None:
    """Register the page."""
    ui.page("/system")(show_system)


async def show_system(request: Request, client: Client) -> None:
    """Show the system."""
    page = Page(Visit.of(request), client, "system", "System")
    if not page.may(MANAGERS):
        with page.body:
            said = "This page is for the roles admin and manager; your token has neither."
            ui.label(said).classes("soft note")
        return
    with page.body:
        page.add_button("Check now …", CHECK, lambda _: check(page), roles=MANAGERS, is_strong=True)
    System(page).add_sections()
    await page.start()


class Recommended(RootModel[list[AIRecommendation]]):
    """Recommendations, as their route lists them."""


class System:
    """The parts of the page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def add_sections(self) -> None:
        """Add all parts."""
        page = self._page
        page.add_section(
            "Health",
            "100 is a system in which nothing needs attention. Every finding takes points away.",
            self._load,
            self._draw_health,
        )
        page.add_section(
            "Health over time",
            "The score of each time the system was checked, the newest on the right.",
            self._load_history,
            _draw_history,
        )
        page.add_section(
            "Findings",
            "What the rules found, the worst first, with the figures each rests on.",
            self._load,
            _draw_findings,
        )
        page.add_section(
            "Recommendations",
            "What can be done about the findings. Your decision is kept with your name.",
            self._load_recommendations,
            self._draw_recommendations,
        )
        page.add_section(
            "Plan",
            "The steps that a program can carry out by itself, if somebody approves them.",
            self._load_plan,
            lambda shown: add_plan(page, *shown),
        )

    async def _load(self) -> AIReasoningOutput:
        return await self._page.visit.calls.read(AIReasoningOutput, f"{PREFIX}/last_run")

    async def _load_plan(self) -> tuple[AIReasoningOutput, PlanState]:
        path = f"{PREFIX}/action-plan/progress"
        return await self._load(), await self._page.visit.calls.read(PlanState, path)

    async def _load_history(self) -> ReasoningHistory:
        return await self._page.visit.calls.read(
            ReasoningHistory, f"{PREFIX}/history", limit=MAX_HISTORY
        )

    def _draw_health(self, output: AIReasoningOutput) -> None:
        summary = output.summary
        with ui.element("div").classes("card"):
            with ui.element("div").classes("row"):
                ui.label(say_number(summary.health_score)).classes("score")
                style = HEALTH_CLASSES.get(summary.overall_health, "soft")
                ui.label(summary.overall_health).classes(f"state {style}")
            for insight in summary.key_insights:
                ui.label(insight).classes("text")
            ui.label(f"As of {say_time(output.timestamp)}.").classes("soft")

    async def _load_recommendations(self) -> list[AIRecommendation]:
        found = await self._page.visit.calls.read(Recommended, f"{PREFIX}/recommendations")
        return found.root

    def _draw_recommendations(self, recommendations: list[AIRecommendation]) -> None:
        if not recommendations:
            ui.label("There is nothing to recommend.").classes("soft note")
            return
        with ui.element("div").classes("stack"):
            for recommendation in recommendations:
                self._draw_recommendation(recommendation)

    def _draw_recommendation(self, shown: AIRecommendation) -> None:
        with ui.element("article").classes("card"):
            with ui.element("div").classes("row"):
                ui.label(shown.title).classes("name")
                style = SEVERITY_CLASSES.get(shown.priority, "soft")
                ui.label(shown.priority).classes(f"state {style}")
            ui.label(shown.description).classes("text")
            add_facts([("What gets better", shown.impact), ("Work", shown.effort)])
            if shown.outcome:
                ui.label(shown.outcome).classes("text")
            if shown.decision == "open":
                self._add_decisions(shown)
            else:
                ui.label(_DECIDED.get(shown.decision, shown.decision)).classes("soft")

    def _add_decisions(self, shown: AIRecommendation) -> None:
        with ui.element("div").classes("row"):
            self._add_decision(
                shown,
                "accepted",
                Question(
                    "Accept this recommendation?",
                    [
                        (
                            "It says that this is to be done. Nothing is started by it; once it "
                            "was done, this page says whether its finding went away."
                        )
                    ],
                    "Accept",
                    quoted=[shown.title],
                ),
            )
            self._add_decision(
                shown,
                "dismissed",
                Question(
                    "Dismiss this recommendation?",
                    ["It does not come back until what it rests on changes."],
                    "Dismiss",
                    asks_reason=True,
                    quoted=[shown.title],
                ),
            )
            self._add_decision(
                shown,
                "snoozed",
                Question(
                    "Snooze this recommendation?",
                    [f"It is out of the way for {SNOOZE_HOURS} hours, and comes back then."],
                    "Snooze",
                    quoted=[shown.title],
                ),
            )

    def _add_decision(
        self, shown: AIRecommendation, decision: Decision, question: Question
    ) -> None:
        async def decide(answer: Answer) -> str:
            body = {
                "decision": decision,
                "reason": answer.reason,
                "snooze_hours": SNOOZE_HOURS,
            }
            path = PREFIX + join_path("recommendations", shown.id)
            decided = await self._page.visit.calls.act(Decided, path, body)
            return f"{_DECIDED[decided.decision]} Your name stands beside it."

        is_strong = decision == "accepted"
        self._page.add_button(
            question.button, question, decide, roles=MANAGERS, is_strong=is_strong
        )


async def check(page: Page) -> str:
    """Start a reasoning run, and return what came of it."""
    done = await page.visit.calls.act(AIRunResponse, f"{PREFIX}/run")
    return f"Done in {done.execution_time_ms / 1000:.1f} s."


def _draw_history(history: ReasoningHistory) -> None:
    if not history.runs:
        ui.label("The system was not checked so far.").classes("soft note")
        return
    scores = [run.health_score for run in reversed(history.runs)]
    with ui.element("div").classes("card"):
        ui.html(draw_curve(scores, width=CURVE_WIDTH), sanitize=False)
        oldest, newest = history.runs[-1].timestamp, history.runs[0].timestamp
        ui.label(say_scores(scores, oldest, newest)).classes("soft")


def _draw_findings(output: AIReasoningOutput) -> None:
    if not output.findings:
        ui.label("Nothing needs attention.").classes("soft note")
        return
    with ui.element("div").classes("stack"):
        for finding in output.findings:
            _draw_finding(finding)


def _draw_finding(finding: FoundProblem) -> None:
    with ui.element("article").classes("card"):
        with ui.element("div").classes("row"):
            ui.label(say_title(finding.title or finding.id)).classes("name")
            style = SEVERITY_CLASSES.get(finding.severity, "soft")
            ui.label(finding.severity).classes(f"state {style}")
        ui.label(finding.text).classes("text")
        if finding.is_stale:
            said = "Its source does not answer; this is what was found before."
            ui.label(said).classes("warn")
        with ui.expansion("What it rests on").props("dense"):
            add_facts([(path, str(value)[:200]) for path, value in finding.evidence.items()])
