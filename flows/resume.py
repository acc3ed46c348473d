"""The deployment `resume_gather`: a gather run goes on, with what an operator has changed."""

from prefect import flow

from tasks.gather_operators import resume_run


@flow(name="resume_gather", timeout_seconds=120, persist_result=False)
async def resume_gather(
    run_id: str,
    max_iterations: int | None = None,
    thresholds: dict[str, float] | None = None,
) -> str:
    """Let a gather run go on from where it was; return what becomes of it.

    `max_iterations` of the whole run and `thresholds` by department hold from its next iteration
    on. One that is suspended is resumed; one that failed, or lost its process, is started again.
    """
    return await resume_run(run_id, max_iterations, thresholds)
