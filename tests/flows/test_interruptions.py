"""Runs in processes of their own that are cancelled, suspended, terminated and killed."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.settings import get_current_settings
from prefect.states import Cancelling, Scheduled, Suspended

from aletheia.intake.ledger import ROWS, Ledger
from blocks import StoreCredentials
from tests.fakes.upstream import FakeUpstream

ROOT = Path(__file__).parents[2]
TASKS = 120
DONE = ["processing", "succeeded"]

pytestmark = pytest.mark.timeout(400)


class Process:
    """A flow run in a process of its own."""

    def __init__(self, run_id: UUID, process: asyncio.subprocess.Process) -> None:
        self.run_id, self._process = run_id, process

    async def state(self) -> State:
        """The run's state, as the server has it."""
        async with get_client() as client:
            state = (await client.read_flow_run(self.run_id)).state
        assert state
        return state

    async def set_state(self, state: State) -> None:
        """What the buttons of the Prefect UI do."""
        async with get_client() as client:
            await client.set_flow_run_state(self.run_id, state)

    def flow_pid(self) -> int:
        """The process that works the flow, below the one that watches it."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return int(children.split()[0])

    def kill(self, number: int) -> None:
        """Send a signal to the process of the flow."""
        os.kill(self.flow_pid(), number)

    async def wait(self, seconds: float) -> None:
        """Wait for the process to end."""
        async with asyncio.timeout(seconds):
            await self._process.wait()


class Runs:
    """Starts runs of `poll_tasks` the way a worker does."""

    def __init__(self) -> None:
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(self, **parameters: float) -> Process:
        """Create a run of the deployment and execute it."""
        async with get_client() as client:
            deployment = await client.create_deployment(
                flow_id=await client.create_flow_from_name("poll_tasks"),
                name="poll_tasks",
                entrypoint="flows/poll.py:poll_tasks",
                pull_steps=[
                    {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
                ],
            )
            run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
        return await self.execute(run.id)

    async def execute(self, run_id: UUID) -> Process:
        """Execute a run that is there."""
        environment = {**os.environ, **get_current_settings().to_environment_variables()}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "prefect", "flow-run", "execute", str(run_id)),
            cwd=ROOT,
            env={key: str(value) for key, value in environment.items()},
        )
        self.processes.append(process)
        return Process(run_id, process)


@pytest.fixture
async def runs(upstream: FakeUpstream) -> AsyncGenerator[Runs]:
    upstream.delay_s = 0.05
    for number in range(TASKS):
        upstream.add(f"t{number}", f"text {number}")
    runs = Runs()
    yield runs
    for process in runs.processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def until_under_way(upstream: FakeUpstream) -> None:
    """Wait until some tasks are claimed and not all of them are done."""
    async with asyncio.timeout(60):
        while len(upstream.states) < 15:
            await asyncio.sleep(0.02)
    assert any(states != DONE for states in upstream.states.values())


async def held(tmp_path: Path) -> list[str]:
    """The tasks whose lease still runs."""
    documents = StoreCredentials(data_dir=tmp_path).get_client()
    await documents.open()
    rows = await documents.find(ROWS, {"lease_until": {"$gt": 0}})
    await documents.close()
    return [row["task_id"] for row in rows]


def assert_every_task_once(upstream: FakeUpstream) -> None:
    assert upstream.states == {f"t{number}": DONE for number in range(TASKS)}
    for bodies in upstream.bodies.values():
        assert len({body for body in bodies if b"processing" not in body}) == 1


async def finish(runs: Runs, upstream: FakeUpstream) -> None:
    """Let another run do the rest."""
    upstream.delay_s = 0
    process = await runs.start(shift_seconds=0)
    await process.wait(60)
    assert (await process.state()).is_completed()
    assert_every_task_once(upstream)


async def test_a_cancelled_run_ends_and_gives_back_what_it_held(
    runs: Runs, upstream: FakeUpstream, tmp_path: Path
):
    upstream.delay_s = 0.3
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    # Prefect tells the process by an event, and one that has just started misses it: see
    # tasks/cancelling.py.
    await process.set_state(Cancelling())
    await process.wait(30)
    assert (await process.state()).type == StateType.CANCELLED
    assert await held(tmp_path) == []
    claimed = len(upstream.states)
    await asyncio.sleep(0.5)
    assert len(upstream.states) == claimed
    await finish(runs, upstream)


async def test_a_suspended_run_gives_back_what_it_held_and_goes_on_when_resumed(
    runs: Runs, upstream: FakeUpstream, tmp_path: Path
):
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    await process.set_state(Suspended())
    await process.wait(30)
    assert (await process.state()).name == "Suspended"
    assert await held(tmp_path) == []
    upstream.delay_s = 0
    await process.set_state(Scheduled(name="Resuming"))
    resumed = await runs.execute(process.run_id)
    async with asyncio.timeout(60):
        while list(upstream.states.values()).count(DONE) < TASKS:
            await asyncio.sleep(0.05)
    assert_every_task_once(upstream)
    await resumed.set_state(Cancelling())
    await resumed.wait(30)


async def test_a_terminated_run_gives_back_what_it_held(
    runs: Runs, upstream: FakeUpstream, tmp_path: Path
):
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    process.kill(signal.SIGTERM)
    await process.wait(30)
    assert await held(tmp_path) == []
    await finish(runs, upstream)


async def test_what_a_killed_run_held_is_taken_over(
    runs: Runs, upstream: FakeUpstream, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LEASE_SECONDS", "2")
    monkeypatch.setenv("CLOCK_SKEW_SECONDS", "0")
    process = await runs.start(shift_seconds=600)
    await until_under_way(upstream)
    process.kill(signal.SIGKILL)
    await process.wait(30)
    assert (await ledger.overview()).states
    await asyncio.sleep(2.1)
    await finish(runs, upstream)
