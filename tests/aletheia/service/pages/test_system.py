"""The page about the system: findings, recommendations, and who may see them."""

from typing import TYPE_CHECKING

import pytest

from tests.fakes.pages import PagesWorld

if TYPE_CHECKING:
    from tests.fakes.visitor import Visitor

TITLE = "Work off the queue"


async def test_health_findings_and_recommendations_are_shown(visitor: "Visitor"):
    await visitor.sign_in("manager")
    await visitor.open("system")
    await visitor.see("93", "excellent", "Between 93 and 100", "Many tasks are pending", TITLE)


@pytest.mark.parametrize("role", ["operator", "viewer"])
async def test_other_roles_see_nothing_of_it(visitor: "Visitor", role: str):
    await visitor.sign_in(role)
    await visitor.open("system")
    await visitor.see("This page is for the roles admin and manager")
    await visitor.miss(TITLE, "Check now …", "Approve …")


async def test_a_recommendation_is_dismissed_with_a_reason(world: PagesWorld, visitor: "Visitor"):
    await visitor.sign_in("manager", sub="anna")
    await visitor.open("system")
    await visitor.see(TITLE)
    await visitor.do("Dismiss", "Dismiss this recommendation?", "Dismissed.", why="a campaign")
    assert visitor.buttons("Dismiss") == []
    (row,) = await world.service.store.find("aletheia_recommendations", {})
    assert (row["decision"], row["reason"], row["decided_by"]) == (
        "dismissed",
        "a campaign",
        "anna",
    )


async def test_without_a_reason_nothing_is_dismissed(visitor: "Visitor"):
    await visitor.sign_in("manager")
    await visitor.open("system")
    await visitor.see(TITLE)
    visitor.press("Dismiss")
    await visitor.see("Dismiss this recommendation?")
    assert not visitor.buttons("Dismiss")[-1].enabled


@pytest.mark.parametrize(("name", "decision"), [("Accept", "accepted"), ("Snooze", "snoozed")])
async def test_a_recommendation_is_accepted_or_snoozed(
    world: PagesWorld, visitor: "Visitor", name: str, decision: str
):
    await visitor.sign_in("admin")
    await visitor.open("system")
    await visitor.see(TITLE)
    await visitor.do(name, f"{name} this recommendation?", decision.capitalize())
    (row,) = await world.service.store.find("aletheia_recommendations", {})
    assert row["decision"] == decision


async def test_checking_now_shows_what_is_found_now(world: PagesWorld, visitor: "Visitor"):
    await visitor.sign_in("manager")
    await visitor.open("system")
    await visitor.see(TITLE)
    world.service.sources.facts["queue_pending"] = 0
    await visitor.do("Check now …", "Check the system now?", "Done in")
    await visitor.see("Nothing needs attention.", "There is nothing to recommend.")


async def test_before_the_first_run_the_page_says_so(world: PagesWorld, visitor: "Visitor"):
    for collection in ("aletheia_reasoning", "aletheia_reasoning_newest"):
        await world.service.store.delete(collection, {})
    await visitor.sign_in("manager")
    await visitor.open("system")
    await visitor.see("The system was not checked so far.")
