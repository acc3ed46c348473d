"""The page about operations."""

from typing import TYPE_CHECKING

import pytest

from tests.fakes.pages import HOSTILE, PagesWorld

if TYPE_CHECKING:
    from tests.fakes.visitor import Visitor


async def test_everything_that_is_worked_on_is_shown(visitor: "Visitor"):
    await visitor.sign_in("viewer")
    await visitor.open("operations")
    await visitor.see("Failed for good", "Lane media", "task 1/ü", HOSTILE[:60])
    await visitor.see("worker-1", "Not heard of lately", "Setting BUDGET_USD_PER_DAY", "$0.06")
    await visitor.see("No provider was called so far.", "sign-in")


async def test_one_dead_letter_is_replayed(world: PagesWorld, visitor: "Visitor"):
    await visitor.sign_in("operator")
    await visitor.open("operations")
    await visitor.see("task 1/ü")
    # The newest stands first: the hostile one, then tasks 1 and 2.
    await visitor.do("Replay", "Send it through once more?", "Replay has begun", place=1)
    order = {"ids": ["task 1/ü"], "code": None, "limit": 1}
    assert list(world.service.orchestrator.runs.values()) == [
        ("replay_dead_letters/replay_dead_letters", order)
    ]


async def test_all_dead_letters_are_replayed(world: PagesWorld, visitor: "Visitor"):
    await visitor.sign_in("operator")
    await visitor.open("operations")
    await visitor.see("Replay all …")
    visitor.press("Replay all …")
    await visitor.see("Send all through once more?")
    visitor.press("Replay")
    await visitor.see("Replay has begun")
    ((_, order),) = world.service.orchestrator.runs.values()
    assert order == {"ids": None, "code": None, "limit": 1000}


async def test_intake_is_paused_and_resumed(visitor: "Visitor"):
    await visitor.sign_in("operator")
    await visitor.open("operations")
    await visitor.see("Pause")
    await visitor.do("Pause", "Take no more tasks?", "New tasks are not taken any more.")
    await visitor.see("Paused")
    await visitor.do("Resume", "Take tasks again?", "Tasks are taken.")


@pytest.mark.parametrize("name", ["Replay", "Replay all …", "Pause"])
async def test_a_viewer_starts_nothing(visitor: "Visitor", name: str):
    await visitor.sign_in("viewer")
    await visitor.open("operations")
    await visitor.see("task 1/ü")
    assert visitor.buttons(name)
    assert not any(button.enabled for button in visitor.buttons(name))


async def test_a_part_that_cannot_be_read_does_not_take_the_others_along(
    world: PagesWorld, visitor: "Visitor"
):
    world.service.orchestrator.is_away = True
    await visitor.sign_in("viewer")
    await visitor.open("operations")
    await visitor.see("(unavailable)", "task 1/ü")
