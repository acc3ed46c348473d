"""What all pages have: the bar at the top, parts that are read again, questions before actions.

Everything that comes from outside is shown by elements that take text, never markup.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from nicegui import Client, ui
from nicegui.element import Element

from aletheia.errors import AletheiaError
from aletheia.service.pages.mounting import Visit
from aletheia.service.pages.words import SIGNED_OUT, say_refusal
from aletheia.service.refusals import ServiceError
from aletheia.service.roles import Role

T = TypeVar("T")

STYLE: Final = Path(__file__).with_name("style.css").read_text(encoding="utf-8")

LINKS: Final = (
    ("gather", "Gather", "projects, and how they are filled"),
    ("system", "System", "how it is, and what to do"),
    ("operations", "Operations", "what is worked on, and what failed"),
)
"""Path, name and meaning of each page."""

READ_EVERY_S: Final = 10.0
"""From one reading of a part of a page to the next, seconds."""

MAX_REASON_CHARS: Final = 500
"""Longest reason that is taken; a socket takes messages of 4,096 bytes."""


@dataclass(frozen=True)
class Question:
    """What a person is asked before something is done: what it means, and what happens."""

    title: str
    explained: Sequence[str]
    button: str
    asks_reason: bool = False
    quoted: Sequence[str] = ()  # texts from outside, shown apart


@dataclass(frozen=True)
class Answer:
    """What the person said."""

    reason: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Idempotency key: pressing twice does it once."""


Do = Callable[[Answer], Awaitable[str]]
"""Does something, and returns in a sentence what came of it."""


class Page:
    """One page of one visitor."""

    def __init__(self, visit: Visit, client: Client, active: str, title: str) -> None:
        self.visit, self.client = visit, client
        self.sections: list[Section[Any]] = []
        ui.page_title(f"{title} · Aletheia")
        ui.add_css(STYLE)
        self._draw_bar(active)
        self.stage = ui.element("div").classes("stage")
        self.body = ui.element("main").classes("body")
        with self.body:
            ui.label(title).classes("title").props('role="heading" aria-level="1"')

    def may(self, roles: Collection[Role]) -> bool:
        """Return whether the visitor has one of some roles."""
        return self.visit.session.caller.has_any(roles)

    def add_section(
        self,
        title: str,
        explained: str,
        load: Callable[[], Awaitable[T]],
        draw: Callable[[T], None],
    ) -> "Section[T]":
        """Add a part that is read, drawn, and read again."""
        with self.body, ui.element("section").classes("section"):
            ui.label(title).classes("subtitle").props('role="heading" aria-level="2"')
            ui.label(explained).classes("soft")
            section = Section(self, load, draw)
        self.sections.append(section)
        return section

    async def start(self) -> None:
        """Read everything, and again every now and then for as long as the page is open."""
        await self.refresh()
        ui.timer(READ_EVERY_S, self.refresh, immediate=False)

    async def refresh(self) -> None:
        """Read everything again; what has not changed stays as it is."""
        if self.visit.session.ended.is_set():
            self.leave()
            return
        await asyncio.gather(*(section.refresh() for section in self.sections))

    def leave(self) -> None:
        """Go to the sign-in, where the token is not good any more."""
        with self.client:
            ui.navigate.to("/sign-in?ended")

    def add_button(
        self, text: str, question: Question, do: Do, *, roles: Collection[Role], is_strong: bool
    ) -> None:
        """Add a button that asks before it does something; who may not press it sees why."""
        button = add_plain_button(text, lambda: self.ask(question, do), is_strong=is_strong)
        button.classes("action")
        if not self.may(roles):
            button.disable()
            button.tooltip(f"For the roles {', '.join(sorted(roles))}")

    async def ask(self, question: Question, do: Do) -> None:
        """Ask, do it if the answer is yes, and say what came of it."""
        # The part of the page that the button is in may be drawn anew meanwhile.
        with self.stage:
            answer = await _ask(question)
            if answer is None:
                return
            if self.visit.session.ended.is_set():
                self.leave()
                return
            try:
                said = await do(answer)
            except ServiceError as refusal:
                self.refuse(refusal)
            else:
                ui.notify(said, type="positive", timeout=8000, close_button="OK")
        await self.refresh()

    def refuse(self, refusal: ServiceError) -> None:
        """Show that something was refused."""
        with self.stage:
            ui.notify(say_refusal(refusal), type="negative", timeout=0, close_button="OK")
        if refusal.code in SIGNED_OUT:
            self.leave()

    def follow(self, project_id: str, after: int) -> None:
        """Read everything again whenever something happens in a project."""
        bell = asyncio.Event()

        async def listen() -> None:
            feeds = await self.visit.feeds.get()
            feeds.check_capacity(project_id)
            async with feeds.following(project_id, after=after) as frames:
                async for _ in frames:
                    bell.set()

        async def answer_bell() -> None:
            if bell.is_set():
                bell.clear()
                await self.refresh()

        listening = asyncio.create_task(_quietly(listen()))
        self.client.on_delete(  # pyright: ignore[reportUnknownMemberType] - typed in part
            listening.cancel
        )
        ui.timer(1.0, answer_bell, immediate=False)

    def _draw_bar(self, active: str) -> None:
        caller = self.visit.session.caller
        with ui.element("header").classes("bar"):
            ui.label("Aletheia").classes("brand")
            with ui.element("nav").classes("links"):
                for path, name, meaning in LINKS:
                    link = ui.link(name, f"/{path}").classes("link")
                    link.tooltip(meaning)
                    if path == active:
                        link.classes("link-active").props('aria-current="page"')
            with ui.element("div").classes("who"):
                roles = ", ".join(sorted(caller.roles))
                ui.label(f"{caller.subject} ({roles})").classes("soft who-name")
                form = ui.element("form").props('method="post"')
                form.props["action"] = f"{self.visit.root}/sign-out"
                with form:
                    add_plain_button("Sign out").props("type=submit dense")


class Section(Generic[T]):
    """A part of a page that is drawn anew when what it shows has changed."""

    def __init__(
        self, page: Page, load: Callable[[], Awaitable[T]], draw: Callable[[T], None]
    ) -> None:
        self._page, self._load, self._draw = page, load, draw
        self._shown: T | str | None = None
        self._box: Element = ui.element("div").classes("box")

    async def refresh(self) -> None:
        """Read it, and draw it if it has changed."""
        try:
            found: T | str = await self._load()
        except ServiceError as refusal:
            if refusal.code in SIGNED_OUT:
                self._page.leave()
                return
            found = say_refusal(refusal)
        if found == self._shown or self._box.is_deleted:
            return
        self._shown = found
        self._box.clear()
        with self._box:
            if isinstance(found, str):
                ui.label(found).classes("soft note")
            else:
                self._draw(found)


async def _quietly(work: Awaitable[None]) -> None:
    """Do something without which the page still is read every now and then."""
    try:
        await work
    except (AletheiaError, ServiceError):
        return


async def _ask(question: Question) -> Answer | None:
    """Return what the person says; `None` if it is no."""
    with ui.dialog() as dialog, ui.card().classes("card question"):
        ui.label(question.title).classes("subtitle")
        for sentence in question.explained:
            ui.label(sentence).classes("soft")
        for text in question.quoted:
            ui.label(text).classes("quoted")
        reason = None
        if question.asks_reason:
            reason = ui.textarea("Why (others will read it)").classes("reason")
            reason.props(f"maxlength={MAX_REASON_CHARS} outlined autofocus")
        with ui.element("div").classes("row-end"):
            add_plain_button("Cancel", lambda: dialog.submit(False))
            yes = add_plain_button(question.button, lambda: dialog.submit(True), is_strong=True)
            if reason is not None:
                yes.bind_enabled_from(reason, "value", lambda value: bool((value or "").strip()))
    is_yes = await dialog
    said = "" if reason is None else str(reason.value or "").strip()
    dialog.delete()
    return Answer(reason=said) if is_yes else None


def add_plain_button(
    text: str, press: Callable[[], object] | None = None, *, is_strong: bool = False
) -> ui.button:
    """Add a button in the colours of the page; `is_strong`: the one that is meant to be pressed."""
    button = ui.button(text, on_click=press, color=None).props("no-caps unelevated")
    return button.classes("strong" if is_strong else "plain")


def add_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Add names with their values."""
    with ui.element("dl").classes("facts"):
        for name, value in facts:
            with ui.element("div").classes("fact"):
                ui.label(name).classes("soft")
                ui.label(value).classes("value")
