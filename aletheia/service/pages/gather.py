"""The page *Gather*: which projects there are, and how each of them is."""

from collections.abc import Mapping
from typing import Final

from nicegui import Client, ui
from starlette.requests import Request

from aletheia.service.pages.calls import join_path
from aletheia.service.pages.frame import Page, add_facts
from aletheia.service.pages.mounting import Visit
from aletheia.service.pages.words import say_run_state, say_time
from aletheia.service.project_list import PATH, ProjectRow, ProjectsPage

MAX_PROJECTS: Final = 200
"""Projects that are shown."""

STATE_CLASSES: Final[Mapping[str, str]] = {"open": "good", "cancelled": "warn"}


def register() -> None:
    """Register the page."""
    ui.page("/gather")(show_projects)


async def show_projects(request: Request, client: Client) -> None:
    """Show the projects."""
    page = Page(Visit.of(request), client, "gather", "Projects")

    async def load() -> list[ProjectRow]:
        found = await page.visit.calls.read(ProjectsPage, PATH, limit=MAX_PROJECTS)
        return sorted(found.projects, key=lambda project: project.opened_at, reverse=True)

    page.add_section(
        "All projects",
        "A project is filled department by department until each has the quality it needs. "
        "The one that was worked on last comes first.",
        load,
        _draw,
    )
    await page.start()


def _draw(projects: list[ProjectRow]) -> None:
    if not projects:
        ui.label(
            "No project was filled so far. A run of automated_gather_creation starts one."
        ).classes("soft note")
        return
    with ui.element("div").classes("cards"):
        for project in projects:
            _draw_project(project)


def _draw_project(project: ProjectRow) -> None:
    with ui.element("article").classes("card"):
        path = join_path("gather", project.project_id)
        with ui.element("div").classes("row"):
            ui.link(project.project_id, path).classes("name")
            add_state(project.status)
        add_facts(
            [
                ("Last run began", say_time(project.opened_at)),
                ("Ended", say_time(project.closed_at)),
                ("Runs so far", str(project.runs)),
            ]
        )


def add_state(state: str) -> None:
    """Add the state of a run."""
    ui.label(say_run_state(state)).classes(f"state {STATE_CLASSES.get(state, 'soft')}")
