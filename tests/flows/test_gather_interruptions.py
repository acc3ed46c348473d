"""Gather runs in processes of their own that are killed, suspended, terminated and cancelled.

Where a run is stopped is drawn from a seed, which is printed, and which `INTERRUPTION_SEED` sets.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Cancelling, Crashed, Pending, Running, Scheduled, Suspended

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.documents import Documents
from aletheia.events.log import EVENTS, EventLog, SavedEvent
from aletheia.events.models import IterationComplete
from aletheia.events.turn import CURSORS
from aletheia.gather.errors import RunOver
from aletheia.gather.event_derivation import list_events
from aletheia.gather.progress import Iteration, Run, RunOrder
from aletheia.gather.project_lock import LOCKS, HolderState
from aletheia.gather.prompts.generate_items import FORM
from aletheia.gather.run_records import RUNS
from aletheia.gather.runs import GatherRuns
from aletheia.items.content import SavedItem
from aletheia.store.clock import Clock
from blocks import StoreCredentials
from flows.gather import automated_gather_creation
from flows.resume import resume_gather
from tasks.cancelling import RUNNER_SAYS
from tasks.gather_closing import close_cancelled, close_cancelled_runs, emit_ended_runs
from tasks.session import open_session
from tests.fakes.departments import FakeDepartments
from tests.fakes.documents import locked
from tests.fakes.openai_chat import FakeChatServer
from tests.flows.conftest import artifacts
from tests.flows.gather_application import ENVIRONMENT, serve_application

ROOT = Path(__file__).parents[2]
FLOW = "automated_gather_creation"
MAX_ITERATIONS = 40
INTERRUPTIONS = 14

LATEST_S = 2.0
"""After its start a process is stopped at a moment up to here; it is at work after about 0.5 s."""

pytestmark = pytest.mark.timeout(240)


@dataclass
class Process:
    """A run that is worked in a process of its own."""

    run_id: UUID
    pid: int

    @property
    def is_there(self) -> bool:
        """Whether it has not ended."""
        return Path(f"/proc/{self.pid}").exists()

    def kill(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def wait(self, seconds: float = 60) -> None:
        """Wait for its end."""
        async with asyncio.timeout(seconds):
            while self.is_there:
                await asyncio.sleep(0.01)


@dataclass
class Backend:
    """What the saved blocks lead to, seen from outside."""

    chat: FakeChatServer
    documents: Documents
    content: EmbeddedContent
    starter: asyncio.subprocess.Process
    environment: Mapping[str, str]
    log: Path

    async def create(self, **parameters: Any) -> UUID:
        """Create a run of the deployment."""
        async with get_client() as client:
            deployment = await client.create_deployment(
                flow_id=await client.create_flow_from_name(FLOW), name=FLOW
            )
            given = {"project_id": "shop", "user_id": "u", "max_iterations": MAX_ITERATIONS}
            run = await client.create_flow_run_from_deployment(
                deployment, parameters=given | parameters
            )
        return run.id

    async def execute(self, run_id: UUID) -> Process:
        """Start working a run."""
        order = {
            "run_id": str(run_id),
            "environment": dict(self.environment),
            "log": str(self.log),
        }
        assert self.starter.stdin
        assert self.starter.stdout
        self.starter.stdin.write(json.dumps(order).encode() + b"\n")
        return Process(run_id, int(await self.starter.stdout.readline()))

    async def have_at_work(self, **parameters: Any) -> tuple[UUID, Process]:
        """Create a run, and work it until it has asked its models for a few things."""
        run_id = await self.create(**parameters)
        process = await self.execute(run_id)
        await self.until(lambda: len(self.chat.requests) >= 3)
        return run_id, process

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that comes about in another process."""
        async with asyncio.timeout(60):
            while not is_so():
                await asyncio.sleep(0.01)

    async def run(self, run_id: UUID) -> Run:
        """Read a run as it stands in the store."""
        return await GatherRuns(self.documents).load(str(run_id))

    async def events(self) -> list[SavedEvent]:
        """Read all events of the project."""
        return await EventLog(self.documents).read("shop")

    async def items(self) -> dict[str, SavedItem]:
        """Read all items of the project."""
        ids = [item_id async for page in self.content.list_ids() for item_id in page]
        assert len(ids) == len(set(ids))
        return await self.content.read_items(ids)

    async def is_held(self) -> bool:
        """Check whether a run holds the project."""
        return (await self.documents.get(LOCKS, ["shop"]))["shop"]["is_held"]

    def prompts(self) -> Counter[str]:
        """Count the questions for items, by what they say."""
        return Counter(
            json.dumps(request.body["messages"])
            for request in self.chat.requests
            if request.body["response_format"]["json_schema"]["name"] == FORM.name
        )


@asynccontextmanager
async def forking() -> AsyncGenerator[asyncio.subprocess.Process]:
    """Start what runs are forked from; in the end nothing of it is left."""
    environment = {**os.environ, **get_current_settings().to_environment_variables()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.flows.gather_processes"),
        cwd=ROOT,
        env={key: str(value) for key, value in environment.items()},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.fixture
async def backend(
    prefect_server: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[Backend]:
    """Eight departments that are never filled, and a model that takes its time."""
    async with serve_application(tmp_path, monkeypatch) as chat, forking() as starter:
        store = StoreCredentials(data_dir=tmp_path)
        documents, content = store.get_client(), store.get_content_client("shop")
        assert isinstance(content, EmbeddedContent)
        await documents.open()
        await content.open()
        yield Backend(chat, documents, content, starter, ENVIRONMENT, tmp_path / "log")
        await content.close()
        await documents.close()


async def set_state(run_id: UUID, state: State, *, force: bool = False) -> bool:
    """Do what the buttons of the Prefect UI do; tell whether the server takes it."""
    async with get_client() as client:
        result = await client.set_flow_run_state(run_id, state, force=force)
    return result.status is SetStateStatus.ACCEPT


async def read_run(run_id: UUID) -> FlowRun:
    async with get_client() as client:
        return await client.read_flow_run(run_id)


async def resume(run_id: UUID, **changes: Any) -> str:
    resuming = resume_gather(run_id=str(run_id), **changes)
    return str(await cast("Awaitable[object]", resuming))


async def cancel(run_id: UUID) -> None:
    """Call the hook, as whoever watched the process of the run does after its end."""
    run = await read_run(run_id)
    await close_cancelled(flow=automated_gather_creation, flow_run=run, state=Cancelling())


async def check(backend: Backend, run_id: UUID, *, ends: int = 1) -> Run:
    """See that everything is there once, and counted once."""
    run, items, events = await backend.run(run_id), await backend.items(), await backend.events()
    assert run.report is not None
    iterations = [
        (progress.department.slug, done)
        for progress in run.progress.departments
        for done in progress.iterations
    ]
    counted = [item for _, done in iterations for item in done.item_ids]
    assert len(counted) == len(set(counted))
    assert run.report.items_created == len(items)
    assert run.report.iterations == len(iterations)
    assert all(item.automation and item.automation.run_id == str(run_id) for item in items.values())
    assert set(counted) <= set(items)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    keys = [event["key"] for event in await backend.documents.find(EVENTS, {})]
    assert len(keys) == len(set(keys)) == len(events)
    emitted = [event.read() for event in events]
    said = [event for event in emitted if isinstance(event, IterationComplete)]
    assert [(event.department, event.iteration, event.items_created) for event in said] == [
        (slug, done.number, len(done.item_ids)) for slug, done in iterations
    ]
    assert [event.total_iterations for event in said] == list(range(1, len(said) + 1))
    assert [event.is_last for event in events].count(True) == ends
    assert events[-1].is_last
    assert not await backend.is_held()
    return run


async def test_a_run_that_is_stopped_at_random_points_ends_as_if_it_had_not_been(backend: Backend):
    seed = int(os.environ.get("INTERRUPTION_SEED", "0")) or random.SystemRandom().randrange(10**6)
    sys.stdout.write(f"INTERRUPTION_SEED={seed}\n")
    draw, stops = random.Random(seed), Counter[str]()
    run_id = await backend.create()
    process = await backend.execute(run_id)
    while stops.total() < INTERRUPTIONS:
        await asyncio.sleep(draw.uniform(0, LATEST_S))
        stop = draw.choice(["kill", "kill", "kill", "suspend", "terminate"])
        if not process.is_there:
            break
        if stop == "suspend" and not await set_state(run_id, Suspended()):
            stop = "kill"
        if stop != "suspend":
            process.kill(signal.SIGKILL if stop == "kill" else signal.SIGTERM)
        await process.wait()
        state = (await read_run(run_id)).state
        assert state is not None
        if state.is_final() and not state.is_crashed():
            break
        stops[stop] += 1
        if stop != "suspend":
            # What whoever watched the process says of it.
            await set_state(run_id, Crashed(), force=True)
        kept = await backend.documents.get(RUNS, [str(run_id)])
        if kept and (await backend.run(run_id)).report is None:
            await resume(run_id)
        else:
            # It has not begun, or is over but for what it says to Prefect: the UI's retry button.
            await set_state(run_id, Scheduled(), force=True)
        process = await backend.execute(run_id)
    await process.wait(120)
    state = (await read_run(run_id)).state
    assert state is not None
    assert state.is_completed(), state
    run = await check(backend, run_id)
    assert run.progress.iterations > 20
    counted = [
        item
        for progress in run.progress.departments
        for done in progress.iterations
        for item in done.item_ids
    ]
    assert sorted(counted) == sorted(await backend.items())
    assert stops.total() > 5, stops
    sys.stdout.write(f"{stops}\n")
    prompts = backend.prompts()
    assert len(prompts) >= run.progress.iterations
    # What was on its way to the model is asked again, by then perhaps with more from the Brain.
    assert prompts.total() <= run.progress.iterations + stops["kill"] + stops["terminate"]


async def test_a_cancelled_run_that_was_killed_is_closed_and_counted(backend: Backend):
    run_id = await backend.create()
    process = await backend.execute(run_id)
    await backend.until(lambda: len(backend.chat.requests) >= 4)
    await set_state(run_id, Cancelling())
    process.kill(signal.SIGKILL)
    await process.wait()
    assert await backend.is_held()
    await cancel(run_id)
    run = await check(backend, run_id)
    assert run.report is not None
    assert run.report.status == "cancelled"
    assert run.report.items_created > 0
    last = json.loads((await backend.events())[-1].body)
    assert last["type"] == "automation_cancelled"
    assert last["items_created_so_far"] == run.report.items_created
    before = await backend.events()
    await cancel(run_id)
    assert await backend.events() == before
    assert len(await artifacts("gather-report", run_id)) == 1


async def test_a_cancelled_run_that_nobody_closed_is_closed_by_the_sweep(backend: Backend):
    run_id, process = await backend.have_at_work()
    process.kill(signal.SIGKILL)
    await process.wait()
    async with open_session():
        assert await close_cancelled_runs() == []
    assert await backend.is_held()
    await set_state(run_id, Cancelled(), force=True)
    async with open_session():
        assert await close_cancelled_runs() == [str(run_id)]
        assert await close_cancelled_runs() == []
    assert (await check(backend, run_id)).report is not None


async def test_a_run_that_closes_itself_when_it_is_cancelled_is_not_closed_again(backend: Backend):
    run_id, process = await backend.have_at_work()
    await set_state(run_id, Cancelling())
    process.kill(signal.SIGTERM)
    await process.wait()
    before = await check(backend, run_id)
    await cancel(run_id)
    assert (await check(backend, run_id)).report == before.report
    assert len(await artifacts("gather-report", run_id)) == 1


async def test_what_was_on_its_way_to_the_store_is_counted_by_a_run_that_is_cancelled(
    backend: Backend,
):
    run_id, process = await backend.have_at_work()
    backend.chat.delay_s = 30
    asked = len(backend.chat.requests)
    await backend.until(lambda: len(backend.chat.requests) > asked)
    # As if the run had been cancelled before the store's answer came back.
    run = await backend.run(run_id)
    position = run.progress.position
    assert position is not None
    number = len(run.progress.departments[position].iterations) + 1
    await GatherRuns(backend.documents).record(run, position, Iteration(number, 0, 0, (), 1.0))
    await set_state(run_id, Cancelling())
    process.kill(signal.SIGTERM)
    await process.wait()
    assert (await check(backend, run_id)).progress.departments[position].iterations[-1].score == 1.0


async def test_a_cancelled_run_says_so_before_another_one_takes_its_project(backend: Backend):
    run_id, process = await backend.have_at_work()
    process.kill(signal.SIGKILL)
    await process.wait()
    await set_state(run_id, Cancelled(), force=True)
    other_id = await backend.create(max_iterations=1)
    await (await backend.execute(other_id)).wait()
    run = await backend.run(run_id)
    assert run.report is not None
    assert run.report.status == "cancelled"
    ends = [(event.run_id, event.read().type) for event in await backend.events() if event.is_last]
    assert ends == [(str(run_id), "automation_cancelled"), (str(other_id), "automation_complete")]
    assert len(await artifacts("gather-report", run_id)) == 1


async def test_an_attempt_that_is_overtaken_leaves_the_state_of_its_run_alone(backend: Backend):
    run_id, process = await backend.have_at_work()
    await GatherRuns(backend.documents).overtake(str(run_id))
    await process.wait()
    state = (await read_run(run_id)).state
    assert state is not None
    assert state.is_running(), state


async def test_whoever_is_to_hear_of_a_run_hears_that_it_was_cancelled_while_it_began(
    backend: Backend,
):
    run_id = await backend.create()
    order = RunOrder(str(run_id), "shop", "u")
    await GatherRuns(backend.documents).open(order, FakeDepartments([]), _never_asked)
    await set_state(run_id, Cancelling(), force=True)
    await cancel(run_id)
    (event,) = await backend.events()
    assert event.is_last
    (cursor,) = await backend.documents.find(CURSORS, {})
    assert (cursor["kind"], cursor["sent"]) == ("prefect", 1)


async def test_a_run_that_was_cancelled_while_it_was_started_asks_nothing(backend: Backend):
    run_id = await backend.create()
    await set_state(run_id, Cancelled(), force=True)
    # Prefect takes `Running` from it all the same.
    await (await backend.execute(run_id)).wait()
    state = (await read_run(run_id)).state
    assert state is not None
    assert state.is_cancelled(), state
    assert backend.chat.requests == []


async def test_a_run_that_is_cancelled_before_it_begins_says_so(backend: Backend):
    run_id = await backend.create()
    backend.environment = {**backend.environment, "PREFECT__FLOW_RUN_ID": str(run_id)}
    # As a worker does; then the process of the run is started, and the operator is faster.
    await set_state(run_id, Pending())
    assert await set_state(run_id, Cancelling())
    await (await backend.execute(run_id)).wait()
    state = (await read_run(run_id)).state
    assert state is not None
    assert state.is_cancelled(), state
    assert backend.chat.requests == []


async def test_a_run_that_is_cancelled_without_a_runner_is_cancelled_by_itself(backend: Backend):
    run_id, process = await backend.have_at_work()
    assert await set_state(run_id, Cancelling())
    await process.wait(20)
    async with get_client() as client:
        states = await client.read_flow_run_states(run_id)
    names = [state.name for state in sorted(states, key=lambda state: state.timestamp)]
    assert names[-2:] == ["Cancelling", "Cancelled"]
    run = await check(backend, run_id)
    assert run.report is not None
    assert run.report.status == "cancelled"


async def test_a_run_that_waits_for_its_store_is_cancelled_soon(backend: Backend, tmp_path: Path):
    run_id, process = await backend.have_at_work()
    with locked(tmp_path, 25):
        await asyncio.sleep(1)
        assert await set_state(run_id, Cancelling())
        await process.wait(30)
    async with get_client() as client:
        states = await client.read_flow_run_states(run_id)
    asked = next(state for state in states if state.is_cancelling())
    cancelled = next(state for state in states if state.is_cancelled())
    # One call waits for the lock for 4 s.
    assert (cancelled.timestamp - asked.timestamp).total_seconds() < 7


async def test_two_runs_that_are_cancelled_at_once_are_both_closed(backend: Backend):
    runs, run_ids = GatherRuns(backend.documents), list[UUID]()
    for project_id in ("shop", "other"):
        run_id = await backend.create(project_id=project_id)
        order = RunOrder(str(run_id), project_id, "u")
        await runs.open(order, FakeDepartments([]), _never_asked)
        await set_state(run_id, Cancelling(), force=True)
        run_ids.append(run_id)
    # One worker watches both.
    await asyncio.gather(*map(cancel, run_ids))
    assert await runs.list_open() == []


async def test_the_end_of_a_run_that_was_killed_before_it_said_so_is_said_by_the_sweep(
    backend: Backend,
):
    run_id, now = await backend.create(), time.time()
    order = RunOrder(str(run_id), "shop", "u")
    runs = GatherRuns(backend.documents, clock=Clock(lambda: now - 120))
    run = await runs.open(order, FakeDepartments([]), _never_asked)
    await runs.close(run, "completed", {})
    async with open_session():
        assert await emit_ended_runs() == [str(run_id)]
        assert await emit_ended_runs() == []
    (event,) = await backend.events()
    assert (event.run_id, event.read().type) == (str(run_id), "automation_complete")


async def test_a_run_that_lost_its_process_after_it_was_closed_can_end(backend: Backend):
    run_id, now = await backend.create(), time.time()
    order = RunOrder(str(run_id), "shop", "u")
    runs = GatherRuns(backend.documents, clock=Clock(lambda: now - 120))
    run = await runs.open(order, FakeDepartments([]), _never_asked)
    await runs.close(run, "completed", {})
    await set_state(run_id, Running(), force=True)
    assert "was lost" in await resume(run_id)
    await (await backend.execute(run_id)).wait()
    state = (await read_run(run_id)).state
    assert state is not None
    assert state.is_completed(), state
    await check(backend, run_id)


async def test_a_retry_of_a_run_that_was_cancelled_goes_on_from_where_it_was(backend: Backend):
    run_id, process = await backend.have_at_work()
    for _ in range(2):
        await set_state(run_id, Cancelling())
        process.kill(signal.SIGTERM)
        await process.wait()
        asked = len(backend.chat.requests)
        await set_state(run_id, Scheduled(name="AwaitingRetry"), force=True)
        process = await backend.execute(run_id)
        await backend.until(lambda asked=asked: len(backend.chat.requests) > asked)
        # What the runner of the attempt before does, late.
        await cancel(run_id)
        await set_state(run_id, Cancelled(message=RUNNER_SAYS), force=True)
        async with asyncio.timeout(30):
            while not ((state := (await read_run(run_id)).state) and state.is_running()):
                await asyncio.sleep(0.05)
    await process.wait()
    state = (await read_run(run_id)).state
    assert state is not None
    assert state.is_completed(), state
    run = await check(backend, run_id, ends=3)
    assert (run.attempt, run.progress.position) == (3, None)
    types = [json.loads(event.body)["type"] for event in await backend.events()]
    assert types.count("automation_cancelled") == 2
    assert types[-1] == "automation_complete"
    assert len(types) == len(list_events(run, "")) + 2


async def test_a_retry_of_a_cancelled_run_that_another_one_followed_says_why_it_does_nothing(
    backend: Backend,
):
    run_id = await backend.create()
    runs = GatherRuns(backend.documents)
    run = await runs.open(RunOrder(str(run_id), "shop", "u"), FakeDepartments([]), _never_asked)
    await runs.close(run, "cancelled", {})
    order = RunOrder("another", "shop", "u")
    other = await runs.open(order, FakeDepartments([]), _never_asked)
    await runs.close(other, "completed", {})
    await set_state(run_id, Cancelled(), force=True)
    await set_state(run_id, Scheduled(name="AwaitingRetry"), force=True)
    await (await backend.execute(run_id)).wait()
    state = (await read_run(run_id)).state
    assert state is not None
    assert state.is_cancelled(), state
    assert "start another one" in (state.message or "")
    assert len(await backend.events()) == 1


async def _never_asked(run_id: str) -> HolderState:
    raise AssertionError(run_id)


async def test_of_two_runs_at_once_the_second_ends_and_names_the_first(backend: Backend):
    run_ids = [await backend.create(max_iterations=8) for _ in range(2)]
    processes = [await backend.execute(run_id) for run_id in run_ids]
    for process in processes:
        await process.wait()
    states = {run_id: (await read_run(run_id)).state for run_id in run_ids}
    (winner,) = [one for one, state in states.items() if state and state.is_completed()]
    (loser,) = [run_id for run_id in run_ids if run_id != winner]
    refused = states[loser]
    assert refused is not None
    assert refused.is_cancelled()
    assert str(winner) in str(refused.message)
    await check(backend, winner)


async def test_on_resume_the_budget_and_a_threshold_can_be_changed(backend: Backend):
    run_id, process = await backend.have_at_work(max_iterations=9)
    delay_s, backend.chat.delay_s = backend.chat.delay_s, 3.0
    assert "at work" in await resume(run_id)
    assert await set_state(run_id, Suspended())
    await process.wait()
    backend.chat.delay_s = delay_s
    done = (await backend.run(run_id)).progress.iterations
    said = await resume(run_id, max_iterations=12, thresholds={"department-7": 0})
    assert said.startswith(f"Run {run_id} goes on from where it was. {done} of 12")
    assert "starts by itself" in await resume(run_id)
    await (await backend.execute(run_id)).wait()
    run = await check(backend, run_id)
    assert run.progress.max_iterations == 12
    assert 9 < run.progress.iterations <= 12
    assert len(run.progress.departments[-1].iterations) == 0
    with pytest.raises(RunOver, match="completed"):
        await resume(run_id, max_iterations=50)
