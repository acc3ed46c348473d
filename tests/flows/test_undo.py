"""The flow `undo_duplicate` on a real Prefect server."""

import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.brain.intents import OUTBOX
from aletheia.documents import Document
from aletheia.errors import InvalidTask
from aletheia.gather.progress import GatherReport
from aletheia.items.calibration import identity
from aletheia.items.calibration_store import CHOSEN, CalibrationStore
from aletheia.items.content import SavedItem
from aletheia.items.decisions import UndoRefused
from blocks import EventCredentials, LLMCredentials, PayloadCredentials, StoreCredentials
from flows.gather import automated_gather_creation
from flows.undo import undo_duplicate
from tests.fakes.payload_cms import serve_fake_payload
from tests.flows.command_line import command, run_command
from tests.flows.conftest import artifacts, last_run

NAME = "automated_gather_creation"
HARD = {"coordinationSettings": {"minQualityThreshold": 100}}
MODEL = "mock sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
async def store(
    prefect_server: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[StoreCredentials]:
    """What the saved blocks lead to: one department, and the mock."""
    for name, value in {
        "COLUMNS": "160",
        "PROCESSING_MODE": "mock",
        "MAX_RETRIES": "0",
        "GATHER_RETRY_BASE_SECONDS": "0",
    }.items():
        monkeypatch.setenv(name, value)
    async with serve_fake_payload() as payload:
        payload.add("legal", 1, description="Reviews contracts and licences.", **HARD)
        await PayloadCredentials(base_url=payload.url).asave("default", overwrite=True)
        store = StoreCredentials(data_dir=tmp_path)
        await store.asave("default", overwrite=True)
        await LLMCredentials().asave("default", overwrite=True)
        await EventCredentials().asave("default", overwrite=True)
        yield store


async def gather(project_id: str) -> GatherReport:
    """Work three iterations."""
    running = automated_gather_creation(project_id, "user-1", 3)
    found = await cast("Awaitable[object]", running)
    assert isinstance(found, GatherReport)
    return found


@contextlib.asynccontextmanager
async def opened(store: StoreCredentials, project_id: str) -> AsyncGenerator[EmbeddedContent]:
    """The collection of a project, seen from outside."""
    content = store.get_content_client(project_id)
    assert isinstance(content, EmbeddedContent)
    await content.open()
    yield content
    await content.close()


async def read(store: StoreCredentials, project_id: str) -> list[SavedItem]:
    """Read all items of a project."""
    async with opened(store, project_id) as content:
        ids = [item_id async for page in content.list_ids() for item_id in page]
        return list((await content.read_items(ids)).values())


async def read_outbox(store: StoreCredentials) -> list[Document]:
    """Read what the Brain has not received yet of decisions."""
    documents = store.get_client()
    await documents.open()
    found = await documents.find(OUTBOX, {"project": "shop"})
    await documents.close()
    return [intent for intent in found if ":undo:" in intent["_id"]]


async def drop_items(store: StoreCredentials, *, end: str = " Too.") -> list[dict[str, Any]]:
    """Run until repeats of the application's documents are dropped; return the rows of its table.

    Args:
        store: what the blocks lead to.
        end: what those documents say beside it.
    """
    await gather("other")
    made = await read(store, "other")
    theirs = [
        replace(one, id=f"theirs-{at}", content=one.content + end, automation=None)
        for at, one in enumerate(made)
    ]
    async with opened(store, "shop") as content:
        await content.insert_items(theirs)
    await gather("shop")
    (table,) = await artifacts("gather-duplicates", (await last_run(NAME)).id)
    assert "`aletheia gather undo shop DECISION`" in str(table.description)
    return json.loads(str(table.data))


async def test_what_was_dropped_is_saved_after_all_and_stays(store: StoreCredentials):
    rows = await drop_items(store)
    row = next(row for row in rows if row["found by"] == "near exact")
    before = await read(store, "shop")

    undone = await undo_duplicate("shop", row["decision"], "anna")
    assert (undone.undone_by, undone.department) == ("anna", "legal")
    assert undone.decision.match_id is not None
    assert undone.decision.match_id.startswith("theirs-")
    assert undone.item.id not in {item.id for item in before}
    added = [item for item in await read(store, "shop") if item not in before]
    assert [(item.id, item.content) for item in added] == [(undone.item.id, undone.item.content)]
    assert added[0].automation is not None
    assert added[0].automation.run_id == str((await last_run(NAME)).id)

    waiting = await read_outbox(store)
    assert [(intent["name"], intent["ids"]) for intent in waiting] == [("Legal", [undone.item.id])]

    assert await undo_duplicate("shop", row["decision"], "ben") == undone
    acts = json.loads((await command("audit", "--json")).stdout)
    assert [(act["who"], act["from"]) for act in acts] == [("ben", "Prefect"), ("anna", "Prefect")]
    assert len(await read_outbox(store)) == 1
    report = await gather("shop")
    after = await read(store, "shop")
    assert sum(item.content == undone.item.content for item in after) == 1
    assert len(after) == len(before) + 1 + report.items_created


async def list_duplicates(*options: str) -> str:
    """Print what was dropped."""
    listed = await command("gather", "duplicates", "shop", *options)
    assert listed.exit_code == 0, listed.output
    return listed.stdout


async def test_the_command_lists_what_was_dropped_and_has_it_back(store: StoreCredentials):
    rows = await drop_items(store)
    dropped = json.loads(await list_duplicates("--json", "--limit", "1000"))
    assert {row["decision"] for row in dropped} == {row["decision"] for row in rows}
    chosen = dropped[0]["decision"]
    result = await run_command(undo_duplicate, "gather", "undo", "shop", chosen)
    assert result.exit_code == 0, result.output
    assert dropped[0]["item_id"] in result.output
    audit = await command("audit", "--json")
    (act,) = json.loads(audit.stdout)
    assert act["action"] == "undo_duplicate/undo_duplicate"
    assert act["from"].startswith("the command line, ")
    assert (act["details"]["decision_id"], act["details"]["user_id"]) == (chosen, "operator")
    shown = " ".join((await list_duplicates("--limit", "1")).split())
    assert chosen in shown
    assert "undone by operator" in shown
    again = json.loads(await list_duplicates("--json", "--limit", "3"))
    assert [row["decision"] for row in again] == [row["decision"] for row in dropped[:3]]
    assert again[0]["undone_by"] == "operator"


async def test_what_cannot_be_undone_fails_its_run_with_a_code(store: StoreCredentials):
    rows = await drop_items(store, end="")
    with pytest.raises(UndoRefused, match="saved already") as refused:
        await undo_duplicate("shop", rows[0]["decision"], "anna")
    assert refused.value.code == "exact_duplicate"
    with pytest.raises(UndoRefused, match="none of this id"):
        await undo_duplicate("other", rows[0]["decision"], "anna")
    with pytest.raises(InvalidTask, match="project id"):
        await undo_duplicate("../shop", rows[0]["decision"], "anna")
    run = await last_run("undo_duplicate")
    assert run.state is not None
    assert run.state.is_failed()
    result = await run_command(undo_duplicate, "gather", "undo", "shop", rows[0]["decision"])
    assert result.exit_code == 1
    assert "the same text is saved already" in result.output


async def test_a_run_says_which_calibration_it_works_with(store: StoreCredentials):
    await gather("shop")
    first = await last_run(NAME)
    (page,) = await artifacts("gather-report", first.id)
    assert f"⚠ without any calibration of `{MODEL}`" in str(page.data)

    documents = store.get_client()
    await documents.open()
    fitted = replace(identity(MODEL), knots=((0.0, 0.0), (0.625, 0.9), (1.0, 1.0)))
    await CalibrationStore(documents).save(fitted)
    assert (await documents.get(CHOSEN, [str(first.id)]))[str(first.id)]["source"] == "identity"
    await documents.close()
    await gather("shop")
    (page,) = await artifacts("gather-report", (await last_run(NAME)).id)
    assert f"by the calibration that is stored for `{MODEL}`" in str(page.data)
    assert "its scale has changed" in str(page.data)
    await gather("shop")
    (page,) = await artifacts("gather-report", (await last_run(NAME)).id)
    assert "its scale has changed" not in str(page.data)
