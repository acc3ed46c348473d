"""The flow `automated_gather_creation` on a real Prefect server."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.exceptions import CancelledRun
from prefect.states import Cancelling, Completed, Running

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.mock.embedder import MockEmbedder
from aletheia.analysis.ports import Embedded
from aletheia.documents import Documents
from aletheia.errors import InvalidTask, Misconfigured, Refused
from aletheia.escaping import escape_markdown
from aletheia.events.log import EventLog, SavedEvent
from aletheia.events.models import IterationComplete
from aletheia.events.turn import CURSORS
from aletheia.gather.progress import GatherReport, RunOrder
from aletheia.gather.project_lock import LOCKS, HolderState
from aletheia.gather.runs import GatherRuns
from aletheia.items.content import SavedItem
from aletheia.quality.evaluation_store import REQUESTS
from blocks import (
    BrainCredentials,
    EventCredentials,
    LLMCredentials,
    PayloadCredentials,
    StoreCredentials,
)
from flows.gather import automated_gather_creation
from flows.replay_events import replay_events
from tasks.cancelling import RunCancelled
from tests.fakes.departments import FakeDepartments
from tests.fakes.payload_cms import FakePayload, serve_fake_payload
from tests.fakes.webhook import serve_fake_webhook
from tests.flows.command_line import command, run_command
from tests.flows.conftest import artifacts, last_run

NAME = "automated_gather_creation"
EASY = {"coordinationSettings": {"minQualityThreshold": 20}}
HARD = {"coordinationSettings": {"minQualityThreshold": 100}}


@dataclass
class Backend:
    """What the saved blocks lead to, seen from outside."""

    payload: FakePayload
    documents: Documents
    content: EmbeddedContent

    async def gather(self, **parameters: Any) -> GatherReport:
        """Run the flow."""
        running = automated_gather_creation(project_id="shop", user_id="user-1", **parameters)
        found = await cast("Awaitable[object]", running)
        assert isinstance(found, GatherReport)
        return found

    async def events(self) -> list[SavedEvent]:
        """Read all events of the project."""
        return await EventLog(self.documents).read("shop")

    async def items(self) -> list[SavedItem]:
        """Read all items of the project."""
        ids = [item_id async for page in self.content.list_ids() for item_id in page]
        return list((await self.content.read_items(ids)).values())


@pytest.fixture
async def backend(
    prefect_server: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[Backend]:
    """Three departments: one that is never filled, one that easily is, one in between."""
    for name, value in {
        "PROCESSING_MODE": "mock",
        "MAX_RETRIES": "0",
        "GATHER_RETRY_BASE_SECONDS": "0",
        "WEBHOOK_ALLOWED_HOSTS": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    async with serve_fake_payload() as payload:
        payload.add("support", 2, description="Answers customers and collects feedback.", **EASY)
        payload.add("legal", 1, description="Reviews contracts and licences.", **HARD)
        payload.add("closed", 3, isActive=False)
        payload.add("wrong", 4, coordinationSettings={"minQualityThreshold": 850})
        store = StoreCredentials(data_dir=tmp_path)
        await store.asave("default", overwrite=True)
        await PayloadCredentials(base_url=payload.url).asave("default", overwrite=True)
        await LLMCredentials().asave("default", overwrite=True)
        await BrainCredentials(data_dir=tmp_path).asave("default", overwrite=True)
        events = EventCredentials(webhook_secret="s3cret")  # pyright: ignore[reportArgumentType] - pydantic makes it a secret
        await events.asave("default", overwrite=True)
        documents, content = store.get_client(), store.get_content_client("shop")
        assert isinstance(content, EmbeddedContent)
        await documents.open()
        await content.open()
        yield Backend(payload, documents, content)
        await content.close()
        await documents.close()


async def test_a_run_fills_its_departments_and_says_what_it_did(backend: Backend):
    report = await backend.gather(max_iterations=6)
    assert report.status == "completed"
    assert [row.department for row in report.summary] == ["legal", "support"]
    assert report.iterations == sum(row.iterations for row in report.summary) <= 6
    items = await backend.items()
    assert report.items_created == len(items) > 0
    for row in report.summary:
        own = [item for item in items if item.department == row.department]
        assert row.items_created == len(own) > 0
    assert all(item.automation is not None and item.automation.mock for item in items)
    run = await last_run(NAME)
    assert {item.automation.run_id for item in items if item.automation} == {str(run.id)}
    (page,) = await artifacts("gather-report", run.id)
    assert f"**{len(items)} items**" in str(page.data)
    assert "| Support |" in str(page.data)
    assert "What was skipped" in str(page.data)
    assert "minQualityThreshold" in str(page.data)
    (table,) = await artifacts("gather-duplicates", run.id)
    assert str(table.description).startswith("**0 items**")


async def test_what_repeats_a_document_of_the_application_is_dropped_and_listed(
    backend: Backend, tmp_path: Path
):
    await cast("Awaitable[object]", automated_gather_creation("other", "user-1", 2))
    other = EmbeddedContent(tmp_path, "other")
    await other.open()
    ids = [item_id async for page in other.list_ids() for item_id in page]
    made = (await other.read_items(ids)).values()
    await other.close()
    theirs = [replace(one, id=f"theirs-{at}", automation=None) for at, one in enumerate(made)]
    await backend.content.insert_items(theirs)
    report = await backend.gather(max_iterations=2)
    contents = [item.content for item in await backend.items()]
    assert len(set(contents)) == len(contents) == len(theirs) + report.items_created
    (table,) = await artifacts("gather-duplicates", (await last_run(NAME)).id)
    rows = json.loads(str(table.data))
    assert len(rows) >= len(theirs) > 0
    assert str(table.description).startswith(f"**{len(rows)} items**")
    assert {row["found by"] for row in rows} == {"exact"}
    assert all(row["dropped"] == row["repeats"] for row in rows)


async def test_what_others_wrote_stands_in_artifacts_as_it_is(backend: Backend):
    for document in backend.payload.documents:
        document["name"] = "![x](//a.example/x.png) |"
    await backend.gather(max_iterations=2)
    written = [
        replace(one, automation=None, id=f"x{at}") for at, one in enumerate(await backend.items())
    ]
    run = await last_run(NAME)
    (page,) = await artifacts("gather-report", run.id)
    assert str(page.data).count(r"| !\[x\](//a.example/x.png) \| |") == 2
    ids = [item.id for item in await backend.items()]
    await backend.content.delete("gather", {"_id": {"$in": ids}})
    await backend.content.insert_items(written)
    await backend.gather(max_iterations=2)
    (table,) = await artifacts("gather-duplicates", (await last_run(NAME)).id)
    rows = json.loads(str(table.data))
    assert {row["department"] for row in rows} == {r"!\[x\](//a.example/x.png) \|"}
    for row in rows:
        begins = row["dropped"].removesuffix("…")
        assert any(escape_markdown(item.content).startswith(begins) for item in written)


async def test_events_are_numbered_without_gaps_and_follow_the_run_in_order(backend: Backend):
    report = await backend.gather(max_iterations=4)
    events = await backend.events()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    emitted: list[tuple[Any, ...]] = []
    for event in events:
        body = json.loads(event.body)
        emitted.append((body["type"], body.get("department"), body.get("iteration")))
    expected: list[tuple[Any, ...]] = []
    for row in report.summary:
        expected.append(("department_started", row.department, None))
        for number in range(1, row.iterations + 1):
            expected.append(("deduplicating", row.department, None))
            expected.append(("iteration_complete", row.department, number))
        if row.department == "legal":
            expected.append(("max_iterations_reached", row.department, None))
        expected.append(("department_complete", row.department, None))
    assert emitted == [*expected, ("automation_complete", None, None)]
    assert json.loads(events[0].body)["model"] == "mock-llm"
    last = json.loads(events[-1].body)
    assert last["items_created"] == report.items_created
    made = [json.loads(event.body) for event in events]
    saved = sum(event["items_created"] for event in made if event["type"] == "iteration_complete")
    assert saved == report.items_created


async def test_a_project_that_is_done_has_no_iteration_and_is_evaluated_once(backend: Backend):
    backend.payload.documents = [
        document for document in backend.payload.documents if document["slug"] == "support"
    ]
    first = await backend.gather()
    second = await backend.gather()
    assert first.iterations > 0
    assert (second.status, second.iterations, second.items_created) == ("completed", 0, 0)
    assert second.departments_processed == 1
    assert len(await backend.items()) == first.items_created
    (request,) = await backend.documents.find(REQUESTS, {})
    assert (request["department"], request["run_id"]) == ("support", None)


async def test_no_evaluation_is_requested_where_none_is_wanted(backend: Backend):
    await backend.gather(max_iterations=4, enable_auto_evaluation=False)
    assert await backend.documents.find(REQUESTS, {}) == []


async def test_a_second_run_is_refused_while_the_first_holds_the_project(backend: Backend):
    async with get_client() as client:
        holder = await client.create_flow_run(automated_gather_creation, state=Running())
        order = RunOrder(str(holder.id), "shop", "somebody else")
        await GatherRuns(backend.documents).open(order, FakeDepartments([]), _never_asked)
        with pytest.raises(CancelledRun, match=str(holder.id)):
            await backend.gather(webhook_url="http://127.0.0.1:1/hook")
        refused = await last_run(NAME)
        assert refused.state is not None
        assert refused.state.is_cancelled()
        assert str(holder.id) in str(refused.state.message)
        assert backend.payload.requests == []
        assert await backend.documents.find(CURSORS, {}) == []
        await client.set_flow_run_state(holder.id, Completed(), force=True)
    assert (await backend.gather(max_iterations=2)).status == "completed"


async def test_a_run_that_is_cancelled_keeps_what_it_made_and_says_so(backend: Backend):
    # So many that the run goes on for much longer than cancelling it takes.
    for number in range(5, 20):
        backend.payload.add(f"more-{number}", number, description="Buys and sells.", **HARD)
    running = asyncio.create_task(backend.gather(max_iterations=50))
    while not any(b"iteration_complete" in event.body for event in await backend.events()):
        await asyncio.sleep(0.02)
    async with get_client() as client:
        run = await last_run(NAME)
        await client.set_flow_run_state(run.id, Cancelling(), force=True)
    with pytest.raises(RunCancelled):
        await running
    last = (await backend.events())[-1]
    body = json.loads(last.body)
    created = len(await backend.items())
    assert (body["type"], body["items_created_so_far"]) == ("automation_cancelled", created)
    assert created > 0
    assert not (await backend.documents.get(LOCKS, ["shop"]))["shop"]["is_held"]
    assert len(await artifacts("gather-report", run.id)) == 1


async def test_an_attempt_that_breaks_off_is_gone_on_with_and_repeats_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    async with get_client() as client:
        run_id = (await client.create_flow_run(automated_gather_creation)).id
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(run_id))
    first = asyncio.create_task(backend.gather(max_iterations=8))
    while not any(b"iteration_complete" in event.body for event in await backend.events()):
        await asyncio.sleep(0.02)
    first.cancel()
    with pytest.raises((asyncio.CancelledError, CancelledRun)):
        await first
    before = await backend.events()
    assert not any(event.is_last for event in before)
    assert (await backend.documents.get(LOCKS, ["shop"]))["shop"]["is_held"]
    report = await backend.gather(max_iterations=8)
    events = await backend.events()
    assert events[: len(before)] == before
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    emitted = [event.read() for event in events]
    done = [
        (event.department, event.iteration)
        for event in emitted
        if isinstance(event, IterationComplete)
    ]
    assert done == [
        (row.department, number)
        for row in report.summary
        for number in range(1, row.iterations + 1)
    ]
    assert report.iterations <= 8
    assert report.items_created == len(await backend.items())
    assert (await backend.gather(max_iterations=8)) == report
    assert await backend.events() == events


async def test_a_run_goes_on_after_an_outage_of_the_application(backend: Backend):
    backend.payload.fail_next(503, on="departments")
    report = await backend.gather(max_iterations=2)
    assert report.status == "completed"
    assert (await last_run(NAME)).run_count == 2


async def test_what_no_retry_helps_is_not_tried_again(backend: Backend):
    backend.payload.authorization = "users API-Key wanted"
    with pytest.raises(Refused):
        await backend.gather()
    assert (await last_run(NAME)).run_count == 1
    assert len(backend.payload.requests) == 1


async def test_events_reach_the_webhook_in_order(backend: Backend):
    async with serve_fake_webhook() as webhook:
        await backend.gather(max_iterations=2, webhook_url=webhook.url)
    assert webhook.refused == []
    assert webhook.ids == [event.id for event in await backend.events()]


async def test_a_webhook_may_be_named_by_its_block(backend: Backend):
    async with serve_fake_webhook() as webhook:
        secret = cast("Any", Secret)(value=f"{webhook.url}?token=of-the-receiver")
        await secret.asave("shop-hook", overwrite=True)
        await backend.gather(max_iterations=2, webhook_url="block:shop-hook")
    assert webhook.refused == []
    assert webhook.ids == [event.id for event in await backend.events()]
    with pytest.raises(Misconfigured, match="block secret/nobody"):
        await backend.gather(webhook_url="block:nobody")


async def test_a_webhook_that_may_not_be_asked_is_refused_before_anything_is_done(backend: Backend):
    with pytest.raises(InvalidTask, match="https"):
        await backend.gather(webhook_url="http://example.com/hook")
    assert backend.payload.requests == []


async def test_production_refuses_a_gather_without_a_key(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(Misconfigured, match="OPENROUTER_API_KEY"):
        await backend.gather()
    assert await backend.items() == []


async def test_a_hostile_project_id_is_refused(backend: Backend):
    with pytest.raises(InvalidTask, match="project id"):
        await cast("Awaitable[object]", automated_gather_creation("../shop", "user-1"))
    assert backend.payload.requests == []
    assert (await last_run(NAME)).run_count == 1


async def _never_asked(run_id: str) -> HolderState:
    raise AssertionError(run_id)


async def test_a_run_without_departments_says_why(
    backend: Backend, caplog: pytest.LogCaptureFixture
):
    backend.payload.documents.clear()
    report = await backend.gather()
    assert (report.status, report.summary) == ("completed", ())
    run = await last_run(NAME)
    assert run.state is not None
    assert run.state.is_completed()
    assert "No department takes part in gathering" in str(run.state.message)
    assert "set PAYLOAD_API_KEY" in str(run.state.message)
    (page,) = await artifacts("gather-report", run.id)
    assert "No department takes part in gathering" in str(page.data)
    assert r"set PAYLOAD_API_KEY" in str(page.data)
    assert "set PAYLOAD_API_KEY" in caplog.text


async def test_documents_that_cannot_be_embedded_block_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    embed = MockEmbedder.embed

    async def refuse(
        self: MockEmbedder, model: str, texts: Sequence[str]
    ) -> AsyncGenerator[Sequence[Embedded]]:
        async for answers in embed(self, model, texts):
            yield [
                Embedded(answer.index, InvalidTask("refused_input", "it is refused"))
                if "poison" in texts[answer.index]
                else answer
                for answer in answers
            ]

    monkeypatch.setattr(MockEmbedder, "embed", refuse)
    theirs = [SavedItem("theirs", "A document of theirs."), SavedItem("bad", "It is poison.")]
    await backend.content.insert_items(theirs)
    report = await backend.gather(max_iterations=2)
    assert report.items_created > 0
    (page,) = await artifacts("gather-report", (await last_run(NAME)).id)
    assert "document 'bad' is compared with nothing" in str(page.data).replace("\\", "")


async def test_dead_events_are_listed_and_sent_once_more(backend: Backend):
    async with serve_fake_webhook() as webhook:
        webhook.fail_next(410, 410)
        await backend.gather(max_iterations=1, webhook_url=f"{webhook.url}?token=s3cret")
        lost = {"shop:1", "shop:2"}
        listed = await command("webhooks", "--json")
        assert listed.exit_code == 0, listed.output
        rows = json.loads(listed.stdout)
        assert {row["id"] for row in rows} == lost
        assert {row["code"] for row in rows} == {"refused"}
        assert "department_started" in {row["type"] for row in rows}
        assert "s3cret" not in listed.output
        webhook.fail_next(410)
        result = await run_command(replay_events, "webhooks", "--replay", "shop:1")
        assert result.exit_code == 1
        assert "shop:1: refused" in result.output
        result = await run_command(replay_events, "webhooks", "--replay", "all")
        assert result.exit_code == 0, result.output
        assert webhook.ids.count("shop:2") == webhook.ids.count("shop:1") == 1
        assert json.loads((await command("webhooks", "--json")).stdout) == []
