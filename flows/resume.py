"""The deployment `resume_gather`: resumes a gather run, with changes by an operator."""

from prefect import flow

from tasks.gather_operations import resume_run
from tasks.runs import complete
from tasks.session import open_watched_session


@flow(name="resume_gather", timeout_seconds=120, persist_result=False)
async def resume_gather(
    run_id: str,
    max_iterations: int | None = None,
    thresholds: dict[str, float] | None = None,
) -> str:
    """Resume a gather run from where it was; return what becomes of it, also as the run's message.

    `max_iterations` of the whole run and `thresholds` by department apply from its next iteration
    on. A suspended run is resumed; one that failed, or lost its process, is started again.
    """
    async with open_watched_session():
        said = await resume_run(run_id, max_iterations, thresholds)
    return complete(said, said)
