"""The page with all projects."""

from typing import TYPE_CHECKING

import pytest

from tests.fakes.pages import PagesWorld
from tests.fakes.projects import begin_run, finish_run

if TYPE_CHECKING:
    from tests.fakes.visitor import Visitor


async def test_projects_are_listed_with_their_newest_run(world: PagesWorld, visitor: "Visitor"):
    run = await begin_run(world.service.store, "run-b", "another")
    await finish_run(world.service.store, run)
    await visitor.sign_in("viewer")
    await visitor.open("gather")
    await visitor.see("shop", "Running", "another", "Finished")


@pytest.mark.parametrize("role", ["admin", "manager", "operator", "viewer"])
async def test_every_role_may_read(visitor: "Visitor", role: str):
    await visitor.sign_in(role)
    await visitor.open("gather")
    await visitor.see("shop")


async def test_a_service_without_projects_says_so(world: PagesWorld, visitor: "Visitor"):
    await world.service.store.delete("aletheia_gather_runs", {})
    await visitor.sign_in("viewer")
    await visitor.open("gather")
    await visitor.see("No project was filled so far.")
