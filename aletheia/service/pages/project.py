"""A project, live: its departments, what was dropped as a repetition of what, its items."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from nicegui import Client, ui
from starlette.requests import Request

from aletheia.service.actions import StartedRun
from aletheia.service.operations import UsagePage, UsageRow
from aletheia.service.pages.calls import join_path
from aletheia.service.pages.curves import draw_curve
from aletheia.service.pages.frame import (
    Answer,
    Page,
    Question,
    Section,
    add_facts,
    add_plain_button,
)
from aletheia.service.pages.gather import add_state
from aletheia.service.pages.mounting import Visit
from aletheia.service.pages.words import (
    NONE,
    REASONS,
    cut,
    say_duration,
    say_number,
    say_time,
    say_title,
    say_usd,
)
from aletheia.service.project_state import DepartmentState, ProjectState, RunState
from aletheia.service.projects import ItemRow, ItemsPage
from aletheia.service.refusals import ServiceError
from aletheia.service.repetitions import RepetitionRow, RepetitionsPage
from aletheia.service.roles import OPERATORS

MAX_SHOWN: Final = 20
"""Repetitions, and items at first, that are shown."""

MAX_ITEMS: Final = 500

SCORED: Final = frozenset({"exact", "embedding", "guard"})
"""Tiers whose score is shown; a judge has found what it had not seen."""

_API: Final = ("api", "v1", "projects")


@dataclass(frozen=True)
class Run:
    """The newest run, and what it cost so far."""

    state: RunState | None
    usage: UsageRow | None


def register() -> None:
    """Register the page."""
    ui.page("/gather/{project_id}")(show_project)


async def show_project(request: Request, client: Client, project_id: str) -> None:
    """Show a project."""
    page = Page(Visit.of(request), client, "gather", project_id)
    shown = Project(page, project_id)
    try:
        state = await shown.load_state()
    except ServiceError as refusal:
        with page.body:
            said = "No run of this project is known." if refusal.code == "not_found" else ""
            ui.label(said or str(refusal.detail)).classes("soft note")
        return
    shown.add_sections()
    await page.start()
    page.follow(project_id, state.last_seq)


class Project:
    """The parts of the page of a project."""

    def __init__(self, page: Page, project_id: str) -> None:
        self._page, self._id = page, project_id
        self._path = join_path(*_API, project_id)
        self._items = MAX_SHOWN
        self._item_section: Section[ItemsPage] | None = None

    async def load_state(self) -> ProjectState:
        """Return the project as it is."""
        return await self._page.visit.calls.read(ProjectState, self._path)

    def add_sections(self) -> None:
        """Add all parts."""
        self._page.add_section(
            "The newest run",
            "A run goes through the departments in their order. This page follows it by itself.",
            self._load_run,
            _draw_run,
        )
        self._page.add_section(
            "Departments",
            "The curve is the quality after each round of new items, from 0 to 100; the dashed "
            "line is what the department has to reach.",
            self._load_departments,
            _draw_departments,
        )
        self._page.add_section(
            "Possible repetitions",
            "These items were kept, but may say the same as another one. Drop what repeats; leave "
            "what is its own idea.",
            lambda: self._load_repetitions(is_possible=True),
            lambda found: self._draw_repetitions(found, is_possible=True),
        )
        self._page.add_section(
            "Dropped as repetitions",
            "These items were left out, since they say the same as one that is there. Undo saves "
            "the item after all, and the two count as different from then on.",
            lambda: self._load_repetitions(is_possible=False),
            lambda found: self._draw_repetitions(found, is_possible=False),
        )
        self._item_section = self._page.add_section(
            "Items",
            "What the project has, in the order of the ids.",
            self._load_items,
            self._draw_items,
        )

    async def _load_run(self) -> Run:
        run = (await self.load_state()).run
        return Run(run, None if run is None else await self._load_usage(run.opened_at))

    async def _load_usage(self, since: datetime) -> UsageRow | None:
        found = await self._page.visit.calls.read(
            UsagePage,
            "/api/v1/usage",
            by=["project_id"],
            project_id=self._id,
            first_day=since.date().isoformat(),
        )
        return found.usage[0] if found.usage else None

    async def _load_departments(self) -> list[DepartmentState]:
        run = (await self.load_state()).run
        return [] if run is None else run.departments

    async def _load_repetitions(self, *, is_possible: bool) -> RepetitionsPage:
        return await self._page.visit.calls.read(
            RepetitionsPage,
            f"{self._path}/repetitions",
            is_possible="true" if is_possible else "false",
            limit=MAX_SHOWN,
        )

    async def _load_items(self) -> ItemsPage:
        return await self._page.visit.calls.read(
            ItemsPage, f"{self._path}/items", limit=self._items
        )

    def _draw_repetitions(self, found: RepetitionsPage, *, is_possible: bool) -> None:
        if not found.repetitions:
            said = "Nothing waits for a decision." if is_possible else "Nothing was dropped."
            ui.label(said).classes("soft note")
            return
        with ui.element("div").classes("stack"):
            for row in found.repetitions:
                self._draw_repetition(row, is_possible=is_possible)
        if found.next_cursor is not None:
            ui.label(f"There are more; the newest {MAX_SHOWN} are shown.").classes("soft")

    def _draw_repetition(self, row: RepetitionRow, *, is_possible: bool) -> None:
        with ui.element("article").classes("card"):
            ui.label(f"{row.department_name}, round {row.iteration}").classes("name")
            with ui.element("div").classes("pair"):
                _draw_text("May repeat" if is_possible else "Left out", row.content)
                _draw_text(
                    "What is there" if row.match_id else "Nothing to compare", row.match_content
                )
            ui.label(_describe(row)).classes("soft")
            if row.undone_by is not None:
                ui.label(f"Undone by {row.undone_by}.").classes("soft")
            elif is_possible:
                self._add_drop(row)
            else:
                self._add_undo(row)

    def _add_undo(self, row: RepetitionRow) -> None:
        async def undo(answer: Answer) -> str:
            path = f"{self._path}/decisions/{row.id}/undo"
            started = await self._page.visit.calls.act(StartedRun, path, key=answer.key)
            return f"Undo has begun; the item is here in a moment (run {started.run_id})."

        question = Question(
            "Save this item after all?",
            [
                (
                    "A run is started that saves the item. It and the one it was taken for count "
                    "as different from then on, so that it is not dropped again."
                )
            ],
            "Undo",
            quoted=[cut(row.content)],
        )
        self._page.add_button("Undo", question, undo, roles=OPERATORS, is_strong=False)

    def _add_drop(self, row: RepetitionRow) -> None:
        async def drop(answer: Answer) -> str:
            path = f"{self._path}/decisions/{row.id}/drop"
            started = await self._page.visit.calls.act(StartedRun, path, key=answer.key)
            return f"Drop has begun; the item is gone in a moment (run {started.run_id})."

        question = Question(
            "Drop this item?",
            [
                (
                    "A run is started that takes the item out of the project. You find it under "
                    "“Dropped as repetitions” afterwards, and Undo has it back."
                )
            ],
            "Drop",
            quoted=[cut(row.content)],
        )
        self._page.add_button("Drop", question, drop, roles=OPERATORS, is_strong=False)

    def _draw_items(self, found: ItemsPage) -> None:
        if not found.items:
            ui.label("There are no items so far.").classes("soft note")
            return
        with ui.element("div").classes("cards"):
            for item in found.items:
                _draw_item(item)
        if found.next_cursor is not None and self._items < MAX_ITEMS:
            with ui.element("div").classes("row-end"):
                add_plain_button("Show more", self._show_more)

    async def _show_more(self) -> None:
        self._items = min(MAX_ITEMS, self._items * 2)
        if self._item_section is not None:
            await self._item_section.refresh()


def _draw_run(run: Run) -> None:
    state, usage = run.state, run.usage
    if state is None:
        ui.label("There was no run so far.").classes("soft note")
        return
    add_state(state.status)
    made = sum(department.items_kept for department in state.departments)
    add_facts(
        [
            ("Rounds", f"{state.iterations} of at most {state.max_iterations}"),
            ("New items kept", say_number(made)),
            ("At work for", say_duration(state.worked_s)),
            ("Began", say_time(state.opened_at)),
            ("Ended", say_time(state.closed_at)),
            ("Cost so far", NONE if usage is None else say_usd(usage.usd)),
            ("Calls of models", NONE if usage is None else say_number(usage.calls)),
        ]
    )
    since = f"{state.opened_at:%Y-%m-%d}"
    ui.label(f"Cost is estimated, of everything for this project since {since}.").classes("soft")


def _draw_departments(departments: list[DepartmentState]) -> None:
    if not departments:
        ui.label("The run has no departments so far.").classes("soft note")
        return
    with ui.element("div").classes("cards"):
        for department in departments:
            _draw_department(department)


def _draw_department(department: DepartmentState) -> None:
    score = department.quality_score
    with ui.element("article").classes("card"):
        ui.label(department.department_name).classes("name")
        ui.html(draw_curve(department.qualities, threshold=department.threshold), sanitize=False)
        add_facts(
            [
                ("Quality", f"{say_number(score)} of {say_number(department.threshold)}"),
                ("Rounds", str(department.iterations)),
                ("Items kept", f"{department.items_kept} of {department.items_generated}"),
            ]
        )
        ui.label(_describe_progress(department)).classes("soft")


def _describe_progress(department: DepartmentState) -> str:
    if department.reason is not None:
        return REASONS.get(department.reason, department.reason)
    return "It is being filled." if department.qualities else "Its turn has not come yet."


def _draw_text(name: str, text: str | None) -> None:
    with ui.element("div"):
        ui.label(name).classes("soft")
        ui.label(cut(text)).classes("text")


def _describe(row: RepetitionRow) -> str:
    has_score = row.score is not None and row.tier in SCORED
    alike = f"Alike: {row.score:.0%}. " if has_score else ""
    return f"{say_title(row.reason.rstrip('.'))}. {alike}{say_time(row.at)}"


def _draw_item(item: ItemRow) -> None:
    with ui.element("article").classes("card"):
        ui.label(cut(item.content)).classes("text")
        made = "written by a person or another program" if item.model is None else item.model
        made += ", made up for trying" if item.mock else ""
        ui.label(f"{item.department or 'no department'} · {made}").classes("soft")
