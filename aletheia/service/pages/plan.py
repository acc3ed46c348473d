"""The plan: what each step would do, and its approval, bound to exactly what was shown."""

from nicegui import ui

from aletheia.errors import InvalidTask
from aletheia.reasoning.actions import describe_dry_run
from aletheia.reasoning.models import AIActionPlan, AIReasoningOutput, PlanStep
from aletheia.reasoning.snapshot import SystemSnapshot
from aletheia.service.pages.calls import join_path
from aletheia.service.pages.frame import Answer, Page, Question, add_facts
from aletheia.service.pages.words import ENDED, say_plan_state, say_time
from aletheia.service.reasoning import PREFIX, PlanApproved, PlanState
from aletheia.service.roles import MANAGERS


def add_plan(page: Page, output: AIReasoningOutput, state: PlanState) -> None:
    """Add the plan of a reasoning run, with its dry run, and how far it is."""
    plan = output.action_plan
    if not plan.steps:
        ui.label("There is nothing to carry out.").classes("soft note")
        return
    with ui.element("article").classes("card"):
        ui.label(plan.title).classes("name")
        ui.label(plan.objective).classes("text")
        add_facts([("Takes", plan.estimated_duration), ("Risk", plan.risk_level)])
        for step in plan.steps:
            _draw_step(step, output.snapshot)
        for sentence in say_plan_state(state):
            ui.label(sentence).classes("text")
        if not any(step.automated for step in plan.steps):
            ui.label("Its steps are for people; nothing can be approved.").classes("soft")
        elif state.is_open:
            _add_approval(page, plan, output.snapshot)
        elif state.state in ENDED:
            said = "It can be approved again when the next check finds the same."
            ui.label(said).classes("soft")


def _draw_step(step: PlanStep, snapshot: SystemSnapshot) -> None:
    with ui.element("div").classes("quoted"):
        ui.label(f"{step.step}. {step.description}").classes("name")
        ui.label(say_dry_run(step, snapshot)).classes("soft")


def say_dry_run(step: PlanStep, snapshot: SystemSnapshot) -> str:
    """Return what a step would do if it were carried out now."""
    if not step.automated:
        return "For a person: no program does it."
    try:
        return f"It would {describe_dry_run(step.action, step.payload, snapshot.view)}."
    except InvalidTask as refusal:
        return f"It cannot be carried out: {refusal.message}."


def _add_approval(page: Page, plan: AIActionPlan, snapshot: SystemSnapshot) -> None:
    async def approve(_: Answer) -> str:
        path = PREFIX + join_path("action-plan", plan.plan_id, "approve")
        approved = await page.visit.calls.act(PlanApproved, path, {"digest": plan.digest})
        if approved.run_id is None:
            until = say_time(approved.expires_at)
            return f"Approved. It can be started until {until}."
        return f"Approved, and started (run {approved.run_id})."

    steps = [step for step in plan.steps if step.automated]
    question = Question(
        "Carry out this plan?",
        [
            (
                "The steps below are started one after the other, in your name. The approval is "
                "good once, and only while the plan and what it answers are what you see here."
            ),
            "Steps for people are left out.",
        ],
        "Approve",
        quoted=[f"{step.step}. {say_dry_run(step, snapshot)}" for step in steps],
    )
    page.add_button("Approve …", question, approve, roles=MANAGERS, is_strong=True)
