"""Flow runs in processes of their own, started the way a worker starts them."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import get_current_settings

ROOT = Path(__file__).parents[2]


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

    async def history(self) -> list[State]:
        """All states that the run had, oldest first."""
        async with get_client() as client:
            states = await client.read_flow_run_states(self.run_id)
        return sorted(states, key=lambda state: state.timestamp)

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
    """Starts runs of a flow the way a worker does."""

    def __init__(self, flow_name: str, entrypoint: str) -> None:
        self._flow_name, self._entrypoint = flow_name, entrypoint
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self, **parameters: Any) -> Process:
        """Create a run of the deployment and execute it."""
        async with get_client() as client:
            deployment = await client.create_deployment(
                flow_id=await client.create_flow_from_name(self._flow_name),
                name=self._flow_name,
                entrypoint=self._entrypoint,
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
            start_new_session=True,
        )
        self._processes.append(process)
        return Process(run_id, process)

    async def stop(self) -> None:
        """Kill the processes that are left, those that work the flows included."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
