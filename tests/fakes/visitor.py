"""Somebody who opens pages without a browser: NiceGUI's own simulation, behind our sign-in."""

import contextlib
from collections.abc import AsyncGenerator

import httpx
from fastapi import FastAPI
from nicegui import ui
from nicegui.functions.navigate import Navigate
from nicegui.functions.notify import notify
from nicegui.testing import User, UserInteraction

from tests.fakes.service import make_token

RETRIES = 40
"""Tenths of a second that a page has to show something."""


class Visitor:
    """Opens pages.

    Attributes:
        http: the client that pages are opened with; it has the session's cookie.
        user: NiceGUI's simulation.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http, self.user = http, User(http)

    async def sign_in(self, *roles: str, **claims: object) -> None:
        """Sign in with a token of some roles."""
        form = {"token": make_token(*roles, **claims)}
        answer = await self.http.post("/ui/sign-in", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/gather")

    async def open(self, path: str) -> None:
        """Open a page."""
        await self.user.open(f"/ui/{path}")

    async def see(self, *texts: str) -> None:
        """Check that the page, or a message over it, says something."""
        for text in texts:
            await self.user.should_see(text, retries=RETRIES)

    async def miss(self, *texts: str) -> None:
        """Check that it does not."""
        for text in texts:
            await self.user.should_not_see(text)

    def buttons(self, name: str) -> list[ui.button]:
        """Return the buttons of a name that can be seen, oldest first."""
        with contextlib.suppress(AssertionError):
            found = self.user.find(kind=ui.button, content=name).elements
            named = [button for button in found if button.text == name]
            return sorted(named, key=lambda button: button.id)
        return []

    def press(self, name: str, place: int = -1) -> None:
        """Press a button: the newest of a name, unless another one is meant."""
        button = self.buttons(name)[place]
        assert button.enabled, f"{name} cannot be pressed"
        UserInteraction(self.user, {button}, None).click()

    async def do(self, name: str, asked: str, said: str, *, place: int = -1, why: str = "") -> None:
        """Press a button, check what is asked, say yes, and check what is said."""
        self.press(name, place)
        await self.see(asked)
        if why:
            (field,) = self.user.find(kind=ui.textarea).elements
            field.value = why
        self.press(name.removesuffix(" …"))
        await self.see(said)


@contextlib.asynccontextmanager
async def visiting(app: FastAPI) -> AsyncGenerator[Visitor]:
    """Run a service, and return a visitor that is not signed in."""
    transport = httpx.ASGITransport(app)
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as http,
        ):
            yield Visitor(http)
    finally:
        ui.navigate, ui.notify = Navigate(), notify
