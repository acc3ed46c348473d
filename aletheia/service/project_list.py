"""Which projects there are: every one that ever had a gather run."""

from datetime import datetime
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from aletheia.documents import Document, Documents
from aletheia.gather.run_records import RUNS
from aletheia.service.paging import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    Place,
    read_cursor,
)
from aletheia.service.parts import Part
from aletheia.service.roles import READERS
from aletheia.service.token_routes import TokenRoutes
from aletheia.store.clock import microseconds, moment

PATH: Final = "/api/v1/projects"


class ProjectRow(BaseModel):
    """A project, and its newest gather run."""

    project_id: str = Field(description="Its id.")
    runs: int = Field(description="Its gather runs so far.")
    run_id: str = Field(description="The newest of them.")
    status: str = Field(
        description="`open`, `completed`, `cancelled`, or `superseded` by another run."
    )
    opened_at: datetime = Field(description="When it began, in UTC.")
    closed_at: datetime | None = Field(description="When it ended, in UTC; null if it has not.")


class ProjectsPage(Page):
    """Projects, by id."""

    projects: list[ProjectRow] = Field(description="The projects.")


def make_project_list_router(routes: TokenRoutes, store: Part[Documents]) -> APIRouter:
    """Build the route that projects are listed by."""
    router = routes.make_router("projects", READERS)

    @router.get(PATH)
    async def list_projects(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> ProjectsPage:
        """Return the projects that had a gather run, by id, each with its newest one."""
        after = "" if cursor is None else read_cursor(cursor).id
        documents = await store.get()
        runs = await documents.count_by(RUNS, "project_id", {})
        left = sorted(project_id for project_id in runs if project_id > after)
        page = left[:limit]
        rows = [await _read_row(documents, project_id, runs[project_id]) for project_id in page]
        following = Place("", page[-1]).write() if len(left) > limit else None
        return ProjectsPage(projects=rows, next_cursor=following)

    return router


async def _read_row(documents: Documents, project_id: str, runs: int) -> ProjectRow:
    where = {"project_id": project_id}
    (newest,) = await documents.find(RUNS, where, sort="opened_at", descending=True, limit=1)
    return _to_row(newest, runs)


def _to_row(newest: Document, runs: int) -> ProjectRow:
    closed_at = newest["closed_at"]
    return ProjectRow(
        project_id=newest["project_id"],
        runs=runs,
        run_id=newest["_id"],
        status=newest["state"],
        opened_at=moment(microseconds(newest["opened_at"])),
        closed_at=None if closed_at is None else moment(microseconds(closed_at)),
    )
