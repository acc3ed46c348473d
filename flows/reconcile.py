"""The deployment `reconcile`: the Brain made to agree with what is saved."""

from prefect import flow

from tasks.reconcile import (
    ReconcileReport,
    list_other_projects,
    list_projects,
    reconcile_project,
    show_differences,
)
from tasks.session import open_session


@flow(name="reconcile", timeout_seconds=3600, persist_result=False)
async def reconcile(project_id: str | None = None) -> ReconcileReport:
    """Compare the Brain with the store, project by project, and repair what differs.

    Without a project all are compared that ever had a gather run; so they are after a change of
    the embedding model, whatever was asked for. What cannot be done for one does not stop the
    others; the run fails at its end then.
    """
    async with open_session():
        outcomes = [await reconcile_project(one) for one in await list_projects(project_id)]
        if any(one.shows_new_model for one in outcomes):
            others = await list_other_projects(outcomes)
            outcomes += [await reconcile_project(one) for one in others]
        return await show_differences(outcomes)
