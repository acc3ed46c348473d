"""The plan on the page about the system: what it would do, and its approval."""

from typing import TYPE_CHECKING

from aletheia.reasoning.models import PlanStep
from tests.fakes.pages import PagesWorld
from tests.fakes.reasoning import make_snapshot

if TYPE_CHECKING:
    from tests.fakes.visitor import Visitor

DRY_RUN = "It would start one shift that drains the upstream's list once"


async def test_a_plan_is_shown_with_its_dry_run_and_approved_once(
    world: PagesWorld, visitor: "Visitor"
):
    await visitor.sign_in("manager", sub="anna")
    await visitor.open("system")
    await visitor.see(DRY_RUN)
    visitor.press("Approve …")
    await visitor.see("Carry out this plan?")
    visitor.press("Approve")
    await visitor.see("Approved, and started (run run-1).")
    (plan,) = world.plans
    plan_id, approval_id = plan["plan_id"], plan["approval_id"]
    approval = await world.reasoner.deps.approvals.find(approval_id)
    assert approval is not None
    assert (approval.plan_id, approval.who, approval.role) == (plan_id, "anna", "manager")
    newest = await world.reasoner.deps.history.newest()
    assert newest is not None
    assert approval.digest == newest.action_plan.digest
    await visitor.see("Approved by anna", "it begins in a moment")
    assert not visitor.buttons("Approve …")


async def test_a_plan_whose_findings_have_changed_is_not_approved(
    world: PagesWorld, visitor: "Visitor"
):
    await visitor.sign_in("manager")
    await visitor.open("system")
    await visitor.see(DRY_RUN)
    world.service.sources.facts["queue_pending"] = 0
    visitor.press("Approve …")
    await visitor.see("Carry out this plan?")
    visitor.press("Approve")
    await visitor.see("The plan, or what it answers, is not what you saw.")
    assert world.plans == []


async def test_a_step_without_a_known_action_is_not_made_up(visitor: "Visitor"):
    del visitor  # skips where the pages are not installed
    from aletheia.service.pages.plan import say_dry_run  # noqa: PLC0415 - needs the extra `ui`

    snapshot = make_snapshot()
    known = PlanStep(
        step=1, action="sweep", description="", automated=True, estimated_duration="1 minute"
    )
    assert say_dry_run(known, snapshot).startswith("It would start what was requested")
    odd = known.model_copy(update={"action": "rm -rf"})
    assert say_dry_run(odd, snapshot).startswith("It cannot be carried out: ")
    manual = known.model_copy(update={"action": "manual", "automated": False})
    assert say_dry_run(manual, snapshot) == "For a person: no program does it."
