"""The flow `sweep` on a real Prefect server."""

import json
import subprocess
import sys
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled
from pydantic import SecretStr

from aletheia.brain.outbox import Outbox
from aletheia.brain.ports import BrainDepartment
from aletheia.documents import Change, Update
from aletheia.events.dead_events import DEAD_EVENTS
from aletheia.events.delivery import FanOut
from aletheia.events.log import EventLog
from aletheia.events.turn import CURSORS
from aletheia.gather.progress import RunOrder
from aletheia.gather.project_lock import HolderState
from aletheia.gather.runs import GatherRuns
from aletheia.llm.answers import ANSWERS, SavedAnswers
from aletheia.quality.evaluation import evaluation_id
from aletheia.quality.evaluation_store import REQUESTS, EvaluationStore
from aletheia.store.clock import Clock
from aletheia.store.format import FORMAT, META
from blocks import EventCredentials, OpenAICredentials
from flows.gather import automated_gather_creation
from flows.sweep import sweep
from tasks.sweep import PARTS, SweepFailed, SweepReport
from tests.aletheia.events.event_processes import finished, iterated, started
from tests.fakes.departments import FakeDepartments, make_department
from tests.fakes.event_sink import FakeSink
from tests.fakes.openai import serve_fake_openai
from tests.fakes.usage import read_usage
from tests.fakes.webhook import serve_fake_webhook
from tests.flows.conftest import artifacts, last_run
from tests.flows.evaluation_setup import ROOT, EvaluationSetup, deployed, setup, started_runs

__all__ = ["setup"]

DAY_S = 86_400.0


async def run_sweep() -> dict[str, dict[str, int]]:
    """Sweep; give what each part did, without those that did nothing."""
    report = await cast("Awaitable[object]", sweep())
    assert isinstance(report, SweepReport)
    assert [outcome.part for outcome in report.parts] == list(PARTS)
    return {outcome.part: outcome.done for outcome in report.parts if outcome.done}


async def table(run: FlowRun) -> list[dict[str, Any]]:
    (found,) = await artifacts("sweep", run.id)
    return json.loads(str(found.data))


async def request(
    setup: EvaluationSetup, slug: str, number: int, *, project_id: str, age_s: float = 120
) -> None:
    """Leave a request whose run was never started."""
    asked_at = datetime.now(UTC) - timedelta(seconds=age_s)
    store = EvaluationStore(setup.documents, project_id, clock=Clock(asked_at.timestamp))
    await store.request(make_department(slug, number), [slug], user_id="u", is_auto=True)


async def test_with_nothing_to_do_every_part_says_so(setup: EvaluationSetup):
    del setup
    assert await run_sweep() == {}
    rows = await table(await last_run("sweep"))
    assert [(row["part"], row["what"]) for row in rows] == [
        (name, "nothing to do") for name in PARTS
    ]


async def test_requests_that_never_got_a_run_are_started(setup: EvaluationSetup):
    ours, other = setup.project_id, f"{setup.project_id}-2"
    await request(setup, "support", 2, project_id=ours, age_s=900)
    await request(setup, "legal", 1, project_id=ours, age_s=800)
    await request(setup, "legal", 1, project_id=other, age_s=700)
    await request(setup, "young", 3, project_id=ours, age_s=1)
    async with deployed() as deployment:
        assert await run_sweep() == {"start lost evaluations": {"evaluations started": 3}}
        runs = await started_runs(deployment)
        assert [(run.parameters["project_id"], run.parameters["department"]) for run in runs] == [
            (ours, "legal"),
            (ours, "support"),
            (other, "legal"),
        ]
        assert await run_sweep() == {}
        assert len(await started_runs(deployment)) == 3
    known = {request["_id"]: request["run_id"] for request in await setup.requests()}
    assert [known[str(run.idempotency_key)] for run in runs] == [str(run.id) for run in runs]
    assert list(known.values()).count(None) == 1
    rows = await table(await last_run("sweep"))
    assert {row["what"] for row in rows} == {"nothing to do"}


async def test_a_run_whose_starter_died_before_it_was_noted_is_not_started_twice(
    setup: EvaluationSetup,
):
    await request(setup, "legal", 1, project_id=setup.project_id)
    async with deployed() as deployment:
        await run_sweep()
        (run,) = await started_runs(deployment)
        (known,) = await setup.requests()
        await setup.documents.delete(REQUESTS, {"_id": known["_id"]})
        await request(setup, "legal", 1, project_id=setup.project_id)
        assert await run_sweep() == {"start lost evaluations": {"evaluations started": 1}}
        assert [flow_run.id for flow_run in await started_runs(deployment)] == [run.id]
        (known,) = await setup.requests()
        assert known["run_id"] == str(run.id)


async def test_an_evaluation_without_a_judge_is_begun_again_after_a_while(setup: EvaluationSetup):
    asked_at = datetime.now(UTC) - timedelta(seconds=1_800)
    store = setup.store(asked_at)
    asked = await store.request(make_department("legal", 1), ["a"], user_id="u", is_auto=True)
    await store.mark_started(asked.request, "a-run")
    name = evaluation_id(setup.project_id, "legal", asked.request.version)
    judge: dict[str, Any] = {"asked": 3, "votes": []}
    common = {"project_id": setup.project_id, "department": "legal"}
    await store.save(asked.request, {"_id": name, **common, "judge": judge})
    part = "repeat evaluations without a judge"
    async with deployed() as deployment:
        assert await run_sweep() == {part: {"evaluations without a judge begun again": 1}}
        (run,) = await started_runs(deployment)
        assert run.idempotency_key == f"eval:{name}:2"
        assert await run_sweep() == {}
        assert len(await started_runs(deployment)) == 1


async def test_a_part_fails_alone_and_the_run_says_which(setup: EvaluationSetup):
    await request(setup, "legal", 1, project_id=setup.project_id)
    old = SavedAnswers(setup.documents, "r:0:1", clock=lambda: time.time() - 40 * DAY_S)
    await old.save_values("batch", [1])
    with pytest.raises(SweepFailed, match=r"^start lost evaluations: .* is not deployed"):
        await run_sweep()
    run = await last_run("sweep")
    assert run.state is not None
    assert run.state.is_failed()
    rows = {row["part"]: row for row in await table(run)}
    assert rows["start lost evaluations"]["what"] == "failed"
    assert r"\`aletheia setup\`" in rows["start lost evaluations"]["error"]
    assert rows["delete old answers"] == {
        "part": "delete old answers",
        "what": "answers deleted",
        "count": 1,
        "error": "",
    }


async def test_events_that_wait_for_a_webhook_are_sent(setup: EvaluationSetup):
    log = EventLog(setup.documents)
    async with serve_fake_webhook() as webhook:
        fan_out = FanOut(setup.documents, {})
        await fan_out.subscribe("p1", "r", "webhook", webhook.url)
        await log.append(started(), run_id="r")
        await log.append(finished(), run_id="r")
        assert await run_sweep() == {"send events to webhooks": {"events sent": 2}}
        assert webhook.refused == []
        assert webhook.ids == ["p1:1", "p1:2"]
        assert await run_sweep() == {}
    (cursor,) = await setup.documents.find(CURSORS, {})
    assert not cursor["is_open"]


async def test_a_receiver_that_cannot_be_served_fails_no_other_part(setup: EvaluationSetup):
    await EventCredentials().asave("default", overwrite=True)
    fan_out = FanOut(setup.documents, {})
    await fan_out.subscribe("p1", "r", "webhook", "https://a.example")
    await fan_out.subscribe("p1", "r", "redis")
    with pytest.raises(SweepFailed, match=r"^send events to webhooks: WEBHOOK_SECRET") as failed:
        await run_sweep()
    assert len(failed.value.failures) == 1


async def test_what_is_old_is_deleted(setup: EvaluationSetup):
    documents, then = setup.documents, time.time() - 40 * DAY_S
    then_clock = Clock(lambda: then)
    log = EventLog(documents, clock=then_clock)
    for number in range(1, 4):
        await log.append(iterated(number), run_id="r")
    sink = FakeSink()
    old = FanOut(documents, {"redis": sink}, clock=then_clock)
    await old.subscribe("p2", "r", "redis")
    await documents.insert(DEAD_EVENTS, [{"_id": "x", "project": "p1", "at": int(then * 1e6)}])
    for clock in (lambda: then, time.time):
        await SavedAnswers(documents, f"r:{clock():.0f}", clock=clock).save_values("batch", [1])
    assert await run_sweep() == {
        "delete old events": {
            "events deleted": 2,
            "dead letters deleted": 1,
            "receivers forgotten": 1,
        },
        "delete old answers": {"answers deleted": 1},
    }
    assert [event.seq for event in await log.read("p1")] == [3]
    assert await documents.count(ANSWERS, {}) == 1
    assert await run_sweep() == {}


async def test_a_sweep_pays_itself_for_what_it_sends_to_the_brain(
    setup: EvaluationSetup, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROCESSING_MODE", "openai")
    project_id = setup.project_id
    async with get_client() as client:
        cancelled = await client.create_flow_run(automated_gather_creation, state=Cancelled())
    order = RunOrder(str(cancelled.id), project_id, "u")
    await GatherRuns(setup.documents).open(order, FakeDepartments([]), holder_is_gone)
    ids = await setup.add_items("legal", "Check the licence of a library before it is used.")
    department = BrainDepartment("legal", "Legal")
    await Outbox(setup.documents).intents.announce(project_id, "k", department, ids)
    async with serve_fake_openai() as openai:
        key = SecretStr(openai.api_key)
        account = OpenAICredentials(api_key=key, base_url=openai.url)
        await account.asave("default", overwrite=True)
        assert await run_sweep() == {
            "close cancelled gather runs": {"cancelled runs closed": 1},
            "deliver to the Brain": {"items and evaluations sent": 1},
        }
    assert await read_usage(setup.documents, run_id=order.run_id) == []
    assert await read_usage(setup.documents, run_id=str((await last_run("sweep")).id))


async def holder_is_gone(run_id: str) -> HolderState:
    del run_id
    return "ended"


async def test_a_store_of_a_newer_version_is_left_alone(setup: EvaluationSetup):
    newer = Change(set={"version": FORMAT + 1})
    await setup.documents.upsert(META, [Update("format", newer)])
    await setup.documents.insert(DEAD_EVENTS, [{"_id": "x", "project": "p1", "at": 0}])
    with pytest.raises(SweepFailed, match="which a newer version of this program wrote"):
        await run_sweep()
    assert await setup.documents.count(DEAD_EVENTS, {}) == 1


def test_a_sweep_loads_no_model_and_no_provider():
    heavy = ("torch", "sentence_transformers", "openai")
    code = f"import sys, flows.sweep; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "[]\n"
