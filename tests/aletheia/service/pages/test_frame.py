"""What all pages have in common."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.fakes.pages import PagesWorld

if TYPE_CHECKING:
    from tests.fakes.visitor import Visitor


async def test_the_bar_says_who_is_signed_in(visitor: "Visitor"):
    await visitor.sign_in("operator", sub="<i>anna</i>")
    await visitor.open("gather")
    await visitor.see("<i>anna</i> (operator)", "Sign out")


async def test_a_page_whose_session_has_ended_leads_to_the_sign_in(
    world: PagesWorld, visitor: "Visitor", monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aletheia.service.pages.frame.READ_EVERY_S", 0.1)
    opened: list[str] = []
    await visitor.sign_in("operator")
    await visitor.open("operations")
    await visitor.see("task 1/ü")
    visitor.press("Replay", 0)
    await visitor.see("Send it through once more?")
    monkeypatch.setattr(visitor.user.navigate, "to", opened.append)
    await visitor.http.post("/ui/sign-out")
    # The token itself is good still; whoever has signed out does nothing by it.
    visitor.press("Replay")
    async with asyncio.timeout(10):
        while not opened:
            await asyncio.sleep(0.02)
    assert set(opened) == {"/sign-in?ended"}
    assert world.service.orchestrator.asked == 0


async def test_pressing_twice_starts_one_run(world: PagesWorld, visitor: "Visitor"):
    await visitor.sign_in("operator")
    await visitor.open("operations")
    await visitor.see("task 1/ü")
    world.service.orchestrator.delay_s = 0.2
    visitor.press("Replay", 0)
    await visitor.see("Send it through once more?")
    visitor.press("Replay")
    visitor.press("Replay")
    await visitor.see("Replay has begun")
    assert len(world.service.orchestrator.runs) == 1
