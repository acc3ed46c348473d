"""The flow `evaluate_department` on a real Prefect server, and the runs that gathering starts."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from prefect.states import Completed, Crashed, Running, Scheduled

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.brain.outbox import Outbox
from aletheia.errors import InvalidTask, Misconfigured
from aletheia.gather.progress import GatherReport
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.quality.embedding import QualityCounter
from aletheia.quality.evaluation import evaluate_items, version_of
from aletheia.quality.evaluation_store import EVALUATIONS, REQUESTS
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import PARTS
from blocks import LLMCredentials
from deployments.declarations import read_declarations
from flows.gather import automated_gather_creation
from tasks.clients.store import get_store
from tasks.evaluation import deliver_to_brain, start_evaluation
from tasks.session import open_session
from tests.fakes.brain_graphs import read_evaluation
from tests.fakes.brain_service import serve_fake_brain
from tests.fakes.chat import ScriptedChat
from tests.fakes.departments import make_department
from tests.flows.conftest import artifacts, last_run
from tests.flows.evaluation_setup import (
    ASKED,
    NAME,
    ROOT,
    EvaluationSetup,
    deployed,
    judge,
    setup,
    started_runs,
    with_model,
)
from tests.flows.test_reconcile import (
    lose_the_brain,
    swept,
    use_embedded,
    use_neo4j,
    use_service,
)

__all__ = ["setup"]

TEXTS = [
    "The counsel checks every licence within 5 days and notes the risk in the register.",
    "The clerk files each contract by Friday, since 3 of 10 were lost last year.",
    "Support answers 95 % of complaints within 24 hours and reports what repeats.",
]
EASY = {"coordinationSettings": {"minQualityThreshold": 20}}


async def request_for(
    setup: EvaluationSetup, slug: str, number: int, ids: list[str], **options: Any
) -> FlowRun:
    """Do what a gather run does: a request first, then a run with its key."""
    department = make_department(slug, number)
    asked = await setup.store().request(department, ids, user_id="auto", is_auto=True, **options)
    async with get_client() as client:
        run = await client.create_flow_run_from_deployment(
            (await client.read_deployment_by_name(f"{NAME}/{NAME}")).id,
            parameters={
                "project_id": setup.project_id,
                "department_number": number,
                "user_id": "auto",
                "auto_triggered": True,
            },
            idempotency_key=asked.request.key,
        )
    return await read_run(run)


async def read_run(run: FlowRun) -> FlowRun:
    async with get_client() as client:
        return await client.read_flow_run(run.id)


async def test_a_department_is_scored_by_all_judges_and_the_result_is_kept(setup: EvaluationSetup):
    ids = await setup.add_items("legal", *TEXTS[:2])
    await setup.add_items("support", TEXTS[2])
    finding = {"part": "depth", "text": "A|B <i>", "item_ids": [ids[0]], "severity": "high"}

    def write(body: Mapping[str, Any]) -> str:
        found = json.loads(judge(body))
        return json.dumps(found if "findings" not in found else found | {"findings": [finding]})

    setup.chat.write = write
    report = await setup.evaluate(1)
    assert (report.department, report.department_number) == ("legal", 1)
    assert (report.items, report.version) == (2, version_of(ids))
    assert (report.judges, report.judges_asked, report.attempt) == (3, 3, 1)
    assert set(report.scores) == set(PARTS)
    assert ("judge", "A|B <i>") in [(finding.source, finding.text) for finding in report.findings]
    assert report.suggestions
    assert not report.mock
    assert not report.auto
    assert not report.was_stored
    assert len(setup.chat.requests) == ASKED
    (kept,) = await setup.evaluations()
    assert (kept["score"], kept["user_id"]) == (report.score, "user-1")
    (page,) = await artifacts("evaluation", (await last_run(NAME)).id)
    shown = str(page.data)
    assert f"# Legal: {report.score:.1f} of 100" in shown
    assert "A\\|B \\<i\\>" in shown
    assert all(f"| {part} |" in shown for part in PARTS)
    assert "mock" not in shown
    assert not await setup.store().list_without_run()


async def test_the_name_of_a_department_stands_as_it_is(setup: EvaluationSetup):
    setup.payload.documents[0]["name"] = "![x](//a.example/x.png)"
    await setup.evaluate(1)
    (page,) = await artifacts("evaluation", (await last_run(NAME)).id)
    assert str(page.description).startswith(r"Evaluation of !\[x\](//a.example/x.png): ")


async def test_what_the_mock_judged_is_marked(setup: EvaluationSetup):
    await with_model(None)
    await setup.add_items("legal", *TEXTS)
    report = await setup.evaluate(1)
    assert report.mock
    (kept,) = await setup.evaluations()
    assert kept["mock"] is True
    (page,) = await artifacts("evaluation", (await last_run(NAME)).id)
    assert "**⚠ mock**" in str(page.data)


@pytest.mark.parametrize(
    ("named", "asked"), [(None, "gpt-4.1-mini"), ("openai/gpt-5-mini", "openai/gpt-5-mini")]
)
async def test_where_only_openai_has_a_key_its_model_judges(
    setup: EvaluationSetup, monkeypatch: pytest.MonkeyPatch, named: str | None, asked: str
):
    """As with the `.env` of a system that knew no OpenRouter (SPEC §3)."""
    if named is not None:
        monkeypatch.setenv("DEFAULT_LLM_MODEL", named)
    setup.chat.models.add(asked)
    values = {"openai_api_key": setup.chat.api_key, "openai_base_url": setup.chat.url}
    await LLMCredentials.model_validate(values).asave("default", overwrite=True)
    await setup.add_items("legal", *TEXTS)
    report = await setup.evaluate(1)
    assert not report.mock
    assert report.judges > 0
    assert {request.body["model"] for request in setup.chat.requests} == {asked}


async def test_production_refuses_the_mock(setup: EvaluationSetup, monkeypatch: pytest.MonkeyPatch):
    await with_model(None)
    await setup.add_items("legal", *TEXTS)
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(Misconfigured, match="OPENROUTER_API_KEY"):
        await setup.evaluate(1)
    assert await setup.evaluations() == []
    assert (await last_run(NAME)).run_count == 1


async def test_the_same_version_answers_with_what_is_stored_unless_it_is_forced(
    setup: EvaluationSetup,
):
    await setup.add_items("legal", *TEXTS)
    first = await setup.evaluate(1)
    again = await setup.evaluate(1)
    assert again == first.model_copy(update={"was_stored": True})
    assert len(setup.chat.requests) == ASKED
    forced = await setup.evaluate(1, force=True)
    assert (forced.attempt, forced.was_stored) == (2, False)
    assert forced.version == first.version
    assert len(setup.chat.requests) == 2 * ASKED
    assert len(await setup.evaluations()) == 1
    await setup.add_items("legal", "The auditor samples 20 files a month and lists what is late.")
    assert (await setup.evaluate(1)).version != first.version
    assert len(await setup.evaluations()) == 2


async def test_a_started_run_evaluates_what_was_asked_for_then(setup: EvaluationSetup):
    ids = await setup.add_items("legal", *TEXTS)
    async with deployed():
        run = await request_for(setup, "legal", 1, ids)
        await setup.add_items("legal", "The auditor samples 20 files a month and counts them.")
        await setup.content.delete("gather", {"_id": ids[0]})
        report = await setup.execute(run)
    assert (report.version, report.items) == (version_of(ids), 2)
    assert (report.auto, report.user_id) == (True, "auto")
    assert not any(ids[0] in seen.text for seen in setup.chat.requests)
    (request,) = await setup.requests()
    assert request["run_id"] == str(run.id)
    assert setup.payload.requests == []


async def test_of_two_departments_with_one_number_the_request_says_which(setup: EvaluationSetup):
    setup.payload.add("sales", 1)
    ids = await setup.add_items("sales", *TEXTS)
    await setup.add_items("legal", "The clerk files each contract by Friday, all of them.")
    async with deployed():
        report = await setup.execute(await request_for(setup, "sales", 1, ids))
    assert (report.department, report.version) == ("sales", version_of(ids))


async def test_by_hand_no_department_is_guessed(setup: EvaluationSetup):
    setup.payload.add("sales", 1)
    with pytest.raises(InvalidTask, match="'legal', 'sales'") as refused:
        await setup.evaluate(1)
    assert refused.value.code == "ambiguous_department"
    assert (await last_run(NAME)).run_count == 1
    with pytest.raises(InvalidTask, match="no department has number 7") as refused:
        await setup.evaluate(7)
    assert refused.value.code == "unknown_department"
    assert await setup.requests() == []
    assert (await setup.evaluate(1, department="sales")).department == "sales"


async def test_a_department_without_a_number_can_be_evaluated(setup: EvaluationSetup):
    setup.payload.add("board", None)
    ids = await setup.add_items("board", *TEXTS)
    report = await setup.evaluate(None)
    assert (report.department, report.department_number) == ("board", None)
    assert report.version == version_of(ids)


@pytest.mark.timeout(180)
async def test_two_runs_for_one_request_evaluate_it_once(setup: EvaluationSetup):
    ids = await setup.add_items("legal", *TEXTS)
    setup.chat.delay_s = 0.5
    async with deployed():
        run = await request_for(setup, "legal", 1, ids)
        async with worker(run) as process, asyncio.timeout(90):
            while not setup.chat.requests:
                await asyncio.sleep(0.02)
            by_hand = await setup.evaluate(1)
            await process.wait()
        state = (await read_run(run)).state
    assert state is not None
    assert state.is_completed(), state.message
    (kept,) = await setup.evaluations()
    assert by_hand.score == kept["score"]
    assert len(setup.chat.requests) == ASKED
    assert len(await setup.requests()) == 1


async def test_answers_that_were_paid_for_before_a_kill_are_not_asked_for_again(
    setup: EvaluationSetup,
):
    ids = await setup.add_items("legal", *TEXTS)
    department = make_department("legal", 1)
    async with deployed():
        run = await request_for(setup, "legal", 1, ids)
        key = (await setup.requests())[0]["_id"]
        scores = json.dumps({part: {"score": 70, "reason": "So."} for part in PARTS})
        remarks = json.dumps({"findings": [], "suggestions": []})
        await evaluate_items(
            ScriptedChat(scores, scores, scores, remarks),
            SavedAnswers(setup.documents, key, clock=lambda: datetime.now(UTC).timestamp()),
            department,
            [QualityItem(id_, text) for id_, text in zip(ids, TEXTS, strict=True)],
            counter=QualityCounter(None),
            project_id=setup.project_id,
            plan=AskPlan("m"),
            version=version_of(ids),
        )
        report = await setup.execute(run)
    assert setup.chat.requests == []
    assert (report.judges, report.was_stored) == (3, False)


async def test_a_run_that_is_retried_asks_only_for_what_it_did_not_get(setup: EvaluationSetup):
    await setup.add_items("legal", *TEXTS)
    setup.chat.fail_next(503)
    report = await setup.evaluate(1)
    assert (report.judges, report.faults) == (3, ())
    assert len(setup.chat.requests) == ASKED + 1
    assert (await last_run(NAME)).run_count == 2
    assert len(await setup.requests()) == 1


async def test_a_forced_run_that_is_retried_is_one_attempt(setup: EvaluationSetup):
    await setup.add_items("legal", *TEXTS)
    await setup.evaluate(1)
    setup.chat.fail_next(503, 503)
    report = await setup.evaluate(1, force=True)
    assert report.attempt == 2
    assert len(await setup.requests()) == 2
    assert (await last_run(NAME)).run_count == 2


async def test_without_a_model_what_was_counted_is_kept_and_says_why(setup: EvaluationSetup):
    await setup.add_items("legal", *TEXTS)
    setup.chat.fail_next(*[503] * 50)
    report = await setup.evaluate(1)
    assert (await last_run(NAME)).run_count == 4
    assert (report.judges, report.judges_asked) == (0, 3)
    assert report.scores == report.counted
    assert {fault.code for fault in report.faults} == {"unavailable"}
    assert report.findings


async def test_an_evaluation_without_a_judge_is_done_again_when_judges_answer(
    setup: EvaluationSetup,
):
    await setup.add_items("legal", *TEXTS)
    right, setup.chat.api_key = setup.chat.api_key, "another"
    report = await setup.evaluate(1)
    assert (report.judges, report.attempt) == (0, 1)
    setup.chat.api_key = right
    report = await setup.evaluate(1)
    assert (report.judges, report.attempt, report.was_stored) == (3, 2, False)
    report = await setup.evaluate(1)
    assert (report.judges, report.attempt, report.was_stored) == (3, 2, True)


async def test_a_key_that_is_refused_is_not_tried_again(setup: EvaluationSetup):
    await setup.add_items("legal", *TEXTS)
    setup.chat.api_key = "another"
    report = await setup.evaluate(1)
    assert (await last_run(NAME)).run_count == 1
    assert {fault.code for fault in report.faults} == {"unauthorized"}
    assert "What could not be used" in str(
        (await artifacts("evaluation", (await last_run(NAME)).id))[0].data
    )


async def test_a_hostile_project_id_is_refused(setup: EvaluationSetup):
    with pytest.raises(InvalidTask, match="project id"):
        await setup.evaluate(1, "../shop")
    assert (await last_run(NAME)).run_count == 1
    assert await setup.requests() == []


async def test_a_request_of_another_project_is_left_alone(setup: EvaluationSetup):
    ids = await setup.add_items("legal", *TEXTS)
    async with deployed():
        run = await request_for(setup, "legal", 1, ids)
        other = run.model_copy(update={"parameters": {**run.parameters, "project_id": "other"}})
        report = await setup.execute(other)
    assert (report.project_id, report.items) == ("other", 0)
    ours, theirs = await setup.requests()
    assert (ours["project_id"], ours["run_id"]) == (setup.project_id, None)
    assert (theirs["project_id"], theirs["run_id"]) == ("other", str(run.id))


@pytest.mark.timeout(180)
async def test_a_run_that_is_killed_goes_on_with_the_answers_it_had(setup: EvaluationSetup):
    ids = await setup.add_items("legal", *TEXTS)

    def slow_at_last(body: Mapping[str, Any]) -> str:
        setup.chat.delay_s = 30.0 if len(setup.chat.requests) >= 3 else 0.0
        return judge(body)

    setup.chat.write = slow_at_last
    async with deployed():
        run = await request_for(setup, "legal", 1, ids)
        async with worker(run) as process:
            async with asyncio.timeout(60):
                while len(setup.chat.requests) < ASKED:
                    await asyncio.sleep(0.02)
            os.kill(flow_pid(process), signal.SIGKILL)
            await process.wait()
        assert await setup.evaluations() == []
        setup.chat.delay_s, setup.chat.write = 0.0, judge
        async with get_client() as client:
            await client.set_flow_run_state(run.id, Scheduled(), force=True)
        async with worker(run) as process, asyncio.timeout(60):
            await process.wait()
        state = (await read_run(run)).state
    assert state is not None
    assert state.is_completed(), state.message
    (kept,) = await setup.evaluations()
    assert (kept["version"], kept["attempt"]) == (version_of(ids), 1)
    assert len(kept["judge"]["votes"]) == 3
    assert len(setup.chat.requests) == ASKED + 1


@contextlib.asynccontextmanager
async def worker(run: FlowRun) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Execute a run in a process of its own."""
    environment = {**os.environ, **get_current_settings().to_environment_variables()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)),
        cwd=ROOT,
        env={key: str(value) for key, value in environment.items()},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def flow_pid(process: asyncio.subprocess.Process) -> int:
    """The process that works the flow, below the one that watches it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return int(children.split()[0])


# What the Brain receives


async def known_score(
    setup: EvaluationSetup, directory: Path, version: str
) -> tuple[float, int] | None:
    """The score that the Brain has of a version, and its attempt."""
    graph = EmbeddedGraph(directory)
    await graph.open()
    found = await read_evaluation(graph, setup.project_id, "legal", version)
    await graph.close()
    return None if found is None else (found["score"], found["attempt"])


async def test_the_brain_has_an_evaluation_as_soon_as_it_is_made(
    setup: EvaluationSetup, tmp_path: Path
):
    await setup.add_items("legal", *TEXTS)
    report = await setup.evaluate(1)
    assert await known_score(setup, tmp_path, report.version) == (report.score, 1)
    assert await Outbox(setup.documents).states() == []
    forced = await setup.evaluate(1, force=True)
    assert await known_score(setup, tmp_path, report.version) == (forced.score, 2)
    await setup.evaluate(1)
    assert await Outbox(setup.documents).states() == []


async def test_an_evaluation_ends_without_the_brain_and_the_sweep_sends_it_later(
    setup: EvaluationSetup, tmp_path: Path
):
    await lose_the_brain()
    await setup.add_items("legal", *TEXTS)
    report = await setup.evaluate(1)
    (state,) = await Outbox(setup.documents).states()
    assert (state.project_id, state.waiting, state.failures) == (setup.project_id, 1, 1)
    await use_embedded(tmp_path)
    # As if the pause were over.
    await setup.documents.delete("aletheia_brain_cursors", {})
    assert await swept() == {"items and evaluations sent": 1}
    assert await known_score(setup, tmp_path, report.version) == (report.score, 1)


async def test_a_brain_that_hangs_does_not_hold_up_an_evaluation_for_long(setup: EvaluationSetup):
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        await use_neo4j(f"bolt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await setup.add_items("legal", *TEXTS)
        began = time.monotonic()
        await setup.evaluate(1)
        # 5 s of patience, and the run itself.
        assert time.monotonic() - began < 20
    (state,) = await Outbox(setup.documents).states()
    assert (state.waiting, state.failures) == (1, 1)
    assert "no answer within" in state.reason


async def test_a_brain_service_is_sent_no_evaluation(setup: EvaluationSetup):
    async with serve_fake_brain() as service:
        await use_service(service.url, service.key)
        await setup.add_items("legal", *TEXTS)
        await setup.evaluate(1)
        assert service.requests == []
    assert await Outbox(setup.documents).states() == []


async def test_an_evaluation_does_not_fail_for_prefect_that_gives_no_block_any_more(
    setup: EvaluationSetup,
):
    nowhere = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"})
    async with open_session():
        with nowhere, disable_run_logger():
            with pytest.raises(httpx.ConnectError):
                await get_store()
            await deliver_to_brain.fn(setup.project_id)


# What a gather run starts


async def gather(setup: EvaluationSetup, **parameters: Any) -> GatherReport:
    running = automated_gather_creation(project_id=setup.project_id, user_id="user-1", **parameters)
    found = await cast("Awaitable[object]", running)
    assert isinstance(found, GatherReport)
    return found


@pytest.fixture
async def easy(setup: EvaluationSetup) -> EvaluationSetup:
    """Four departments that are soon good enough; the one without a number comes last."""
    await with_model(None)
    setup.payload.documents.clear()
    for slug, number in {"board": None, "sales": 3, "legal": 1, "support": 2}.items():
        setup.payload.add(slug, number, description=f"Looks after {slug} and reports.", **EASY)
    return setup


ORDER = ["legal", "support", "sales", "board"]


async def test_a_gather_run_starts_evaluations_in_the_order_of_departments(easy: EvaluationSetup):
    async with deployed() as deployment:
        report = await gather(easy)
        assert [row.department for row in report.summary] == ORDER
        runs = await started_runs(deployment)
        assert [run.parameters["department"] for run in runs] == ORDER
        requests = {request["department"]: request for request in await easy.requests()}
        assert [requests[slug]["run_id"] for slug in ORDER] == [str(run.id) for run in runs]
        assert [requests[slug]["_id"] for slug in ORDER] == [run.idempotency_key for run in runs]
        assert await easy.evaluations() == []
        for run in runs:
            done = await easy.execute(run)
            assert (done.auto, done.was_stored, done.mock) == (True, False, True)
        await gather(easy)
        assert len(await started_runs(deployment)) == len(ORDER)
    assert len(await easy.evaluations()) == len(ORDER)


async def test_a_queue_hands_out_one_after_another_in_that_order(setup: EvaluationSetup):
    declared = {
        queue.name: queue for pool in read_declarations().work_pools for queue in pool.queues
    }["evaluation"]
    pool, store = setup.project_id, setup.store()
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        wanted = declared.model_dump()
        await client.create_work_queue(work_pool_name=pool, **wanted)
        async with deployed(pool, declared.name):
            for number, slug in enumerate(("sales", "legal", "support"), start=1):
                department = make_department(slug, 4 - number)
                await store.request(department, [slug], user_id="auto", is_auto=True)
            for request in await store.list_without_run():
                await start_evaluation(store, request)
            handed_out: list[str] = []
            while due := await client.get_scheduled_flow_runs_for_work_pool(
                pool, [declared.name], scheduled_before=datetime.now(UTC) + timedelta(seconds=10)
            ):
                # Others wait until this one is over.
                (one,) = due
                handed_out.append(one.flow_run.parameters["department"])
                await client.set_flow_run_state(one.flow_run.id, Running(), force=True)
                assert not await client.get_scheduled_flow_runs_for_work_pool(pool)
                await client.set_flow_run_state(one.flow_run.id, Completed(), force=True)
        await client.delete_work_pool(pool)
    assert handed_out == ["support", "legal", "sales"]


async def test_requests_wait_where_the_flow_is_not_deployed_and_the_next_run_starts_them(
    easy: EvaluationSetup,
):
    await gather(easy)
    assert [request["run_id"] for request in await easy.requests()] == [None] * len(ORDER)
    easy.payload.documents.clear()
    easy.payload.add("board", None, description="Looks after board and reports.", **EASY)
    async with deployed() as deployment:
        await gather(easy)
        runs = await started_runs(deployment)
        assert [run.parameters["department"] for run in runs] == ORDER
    assert all(request["run_id"] for request in await easy.requests())


async def test_an_evaluation_that_crashed_is_asked_for_anew_by_the_next_run(easy: EvaluationSetup):
    async with deployed() as deployment:
        await gather(easy)
        first, *others = await started_runs(deployment)
        for run in others:
            await easy.execute(run)
        async with get_client() as client:
            await client.set_flow_run_state(first.id, Crashed(), force=True)
        await gather(easy)
        *_, again = await started_runs(deployment)
        assert again.idempotency_key == f"{first.idempotency_key}:2"
        assert (await easy.execute(again)).attempt == 2
        await gather(easy)
        assert len(await started_runs(deployment)) == len(ORDER) + 1
    assert await easy.documents.count(EVALUATIONS, {}) == len(ORDER)
    assert await easy.documents.count(REQUESTS, {}) == len(ORDER) + 1
