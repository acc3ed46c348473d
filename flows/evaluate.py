"""The deployment `evaluate_department`: scores a department's items in detail."""

from prefect import flow

from aletheia.quality.evaluation import EvaluationReport
from tasks.evaluation import (
    deliver_to_brain,
    evaluate_request,
    find_request,
    open_evaluation,
    show_evaluation,
)
from tasks.runs import RETRIES


@flow(name="evaluate_department", timeout_seconds=600, retries=RETRIES, persist_result=False)
async def evaluate_department(
    project_id: str,
    department_number: int | None,
    user_id: str,
    auto_triggered: bool = False,
    *,
    force: bool = False,
    department: str | None = None,
) -> EvaluationReport:
    """Score a department with all judges, with findings and suggestions.

    A run that was started for a request evaluates the items of that request. Any other run makes
    a request for the department with that number, or that slug, as it is now; if this version was
    evaluated before, the stored result is returned, unless `force` is set.
    """
    async with open_evaluation(project_id):
        key = await find_request(
            project_id,
            department_number,
            user_id,
            is_auto=auto_triggered,
            is_forced=force,
            department=department,
        )
        report = await evaluate_request(project_id, key)
        await show_evaluation(report)
        if not report.was_stored:
            await deliver_to_brain(project_id)
        return report
