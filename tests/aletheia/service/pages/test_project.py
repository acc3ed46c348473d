"""The page of one project."""

from typing import TYPE_CHECKING

import pytest

from aletheia.gather.progress import Iteration
from aletheia.gather.runs import GatherRuns
from aletheia.items.decisions import DECISIONS, ProjectDecisions
from aletheia.service.audit import AUDIT
from tests.fakes.pages import DROPPED_TEXT, HOSTILE, MATCH_TEXT, PagesWorld
from tests.fakes.projects import PROJECT, add_events

if TYPE_CHECKING:
    from tests.fakes.visitor import Visitor


async def test_a_project_is_shown_with_all_its_parts(visitor: "Visitor"):
    await visitor.sign_in("viewer")
    await visitor.open("gather/shop")
    await visitor.see("1 of at most 10", "55 of 80", "7 of 8", "$0.06")
    await visitor.see(DROPPED_TEXT, MATCH_TEXT, "Keep a list of all contracts.")
    # The text of an item is text, whatever it is.
    await visitor.see(HOSTILE)


async def test_an_unknown_project_says_so(visitor: "Visitor"):
    await visitor.sign_in("viewer")
    await visitor.open("gather/none")
    await visitor.see("No run of this project is known.")
    await visitor.open("gather/%3Cb%3E")
    await visitor.see("<b>")


async def test_undo_starts_the_run_that_the_api_starts(world: PagesWorld, visitor: "Visitor"):
    await visitor.sign_in("operator", sub="anna")
    await visitor.open("gather/shop")
    await visitor.see(DROPPED_TEXT)
    # The newest decision stands first: the hostile item, then the dropped one.
    await visitor.do("Undo", "Save this item after all?", "Undo has begun", place=1)
    dropped = await ProjectDecisions(world.service.store, PROJECT).list_dropped()
    (decision,) = [drop.id for drop in dropped if drop.item.content == DROPPED_TEXT]
    wanted = {"project_id": PROJECT, "decision_id": decision, "user_id": "anna"}
    assert list(world.service.orchestrator.runs.values()) == [
        ("undo_duplicate/undo_duplicate", wanted)
    ]
    (record,) = await world.service.store.find(AUDIT, {})
    assert (record["subject"], record["roles"]) == ("anna", ["operator"])


async def test_drop_starts_a_run_for_a_possible_repetition(world: PagesWorld, visitor: "Visitor"):
    await visitor.sign_in("operator", sub="anna")
    await visitor.open("gather/shop")
    await visitor.see("Possible repetitions")
    await visitor.do("Drop", "Drop this item?", "Drop has begun")
    ((deployment, wanted),) = world.service.orchestrator.runs.values()
    assert deployment == "drop_repetition/drop_repetition"
    assert (wanted["project_id"], wanted["user_id"]) == (PROJECT, "anna")


@pytest.mark.parametrize("name", ["Undo", "Drop"])
async def test_a_viewer_sees_buttons_that_cannot_be_pressed(visitor: "Visitor", name: str):
    await visitor.sign_in("viewer")
    await visitor.open("gather/shop")
    await visitor.see(DROPPED_TEXT)
    assert visitor.buttons(name)
    assert not any(button.enabled for button in visitor.buttons(name))


async def test_what_cannot_be_started_is_said(world: PagesWorld, visitor: "Visitor"):
    world.service.orchestrator.is_away = True
    await visitor.sign_in("operator")
    await visitor.open("gather/shop")
    await visitor.see(DROPPED_TEXT)
    await visitor.do("Undo", "Save this item after all?", "(unavailable)", place=1)


async def test_what_was_undone_has_no_button(world: PagesWorld, visitor: "Visitor"):
    for row in await world.service.store.find(DECISIONS, {"is_kept": False}):
        row |= {"undone_by": "bert", "undone_at": row["at"]}
        await world.service.store.delete(DECISIONS, {"_id": row["_id"]})
        await world.service.store.insert(DECISIONS, [{**row, "payload": b'{"content": "A text."}'}])
    await visitor.sign_in("operator")
    await visitor.open("gather/shop")
    await visitor.see("Undone by bert.")
    assert visitor.buttons("Undo") == []


async def test_an_event_is_shown_long_before_the_page_is_read_again(
    world: PagesWorld, visitor: "Visitor", monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aletheia.service.pages.frame.READ_EVERY_S", 3600.0)
    await visitor.sign_in("viewer")
    await visitor.open("gather/shop")
    await visitor.see("1 of at most 10")
    runs = GatherRuns(world.service.store)
    found = (await world.service.store.get("aletheia_gather_runs", ["run-a"]))["run-a"]
    run = await runs.load_progress(found)
    await runs.record(run, 0, Iteration(2, 8, 7, ("item-2",), 61.0))
    await add_events(world.service.store, 1)
    await visitor.see("2 of at most 10", "61 of 80")
