"""The deployment `carry_out_plan`: carries out a plan that a person approved."""

from prefect import flow

from tasks.plans import (
    PlanReport,
    begin_plan,
    carry_out_step,
    carrying_out,
    close_plan,
    obtain_approval,
    open_plan,
    refuse_plan,
    rehearse_plan,
)


@flow(name="carry_out_plan", persist_result=False)
async def carry_out_plan(
    plan_id: str, approval_id: str | None = None, dry_run: bool = False
) -> PlanReport:
    """Carry out the automated steps of the newest plan, one after another.

    Without an approval the run is suspended, shows the plan and asks for one; waiting holds no
    process. An approval is used once, and only for the plan and the findings that were approved. A
    step that fails ends the run. `dry_run` says what each step would do, and does nothing.
    """
    async with open_plan():
        if dry_run:
            return await rehearse_plan(plan_id)
        approval = approval_id or await obtain_approval(plan_id)
        if approval is None:
            return refuse_plan(plan_id)
        async with carrying_out(approval):
            steps = await begin_plan(plan_id, approval)
            done = [await carry_out_step(approval, step) for step in steps]
            return await close_plan(plan_id, approval, done)
