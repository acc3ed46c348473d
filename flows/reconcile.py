"""The deployment `reconcile`: makes the Brain agree with what is saved."""

from prefect import flow

from tasks.reconcile import (
    ReconcileReport,
    list_other_projects,
    list_projects,
    reconcile_project,
    show_differences,
)
from tasks.session import open_watched_session


@flow(name="reconcile", timeout_seconds=3600, persist_result=False)
async def reconcile(project_id: str | None = None) -> ReconcileReport:
    """Compare the Brain with the store, project by project, and repair what differs.

    Without a project, all that ever had a gather run are compared; after a change of the embedding
    model they are, whatever was asked for. If one fails, the others are done all the same, and the
    run fails at its end.
    """
    async with open_watched_session():
        projects = await list_projects(project_id)
        outcomes = [await reconcile_project(project) for project in projects]
        if any(outcome.shows_new_model for outcome in outcomes):
            others = await list_other_projects(outcomes)
            outcomes += [await reconcile_project(project) for project in others]
        return await show_differences(outcomes)
