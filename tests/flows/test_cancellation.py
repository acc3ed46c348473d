"""Runs that spend money, cancelled in their first moments, one of them beside a busy program.

Each run is worked by `prefect flow-run execute`, as a worker has it worked.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from tests.fakes.openai_chat import ChatSeen, FakeChatServer
from tests.flows.flow_processes import Process, Runs
from tests.flows.gather_application import serve_application

CANCELLED_WITHIN_S = 10.0
PAID_WITHIN_S = 1.0
"""Until the run is cancelled, from the request on; in which a paid call may still begin, from its
answer on: on a busy machine the server itself takes up to 1.3 s for that."""

BUSY = "import time\nend = time.monotonic() + 200\nwhile time.monotonic() < end: pass"

pytestmark = pytest.mark.timeout(240)


class Arrivals(list[ChatSeen]):
    """Requests, and when each of them arrived, in seconds since the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, request: ChatSeen) -> None:
        """Note a request."""
        super().append(request)
        self.times.append(time.time())


@asynccontextmanager
async def busy(cores: int) -> AsyncGenerator[None]:
    """Run a program that keeps a core busy, on so many cores."""
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", BUSY) for _ in range(cores)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            await process.wait()


@pytest.fixture
async def chat(
    prefect_server: None,  # noqa: ARG001 - it has to run
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[FakeChatServer]:
    """The model that the runs ask."""
    async with serve_application(tmp_path, monkeypatch) as chat:
        yield chat


@pytest.fixture
async def runs() -> AsyncGenerator[Runs]:
    runs = Runs("automated_gather_creation", "flows/gather.py:automated_gather_creation")
    yield runs
    await runs.stop()


async def cancel(process: Process, after_s: float) -> tuple[float, float]:
    """Cancel a run so long after it has begun; return when, and when the server had taken it."""
    async with asyncio.timeout(120):
        while not (state := await process.state()).is_running():
            await asyncio.sleep(0.02)
    await asyncio.sleep(max(0.0, state.timestamp.timestamp() + after_s - time.time()))
    cancelled_at = time.time()
    await process.set_state(Cancelling())
    return cancelled_at, time.time()


@pytest.mark.parametrize(("after_s", "busy_cores"), [(0.1, 0), (0.7, 1), (2.5, 0)])
async def test_a_cancel_is_heard_at_once(
    after_s: float, busy_cores: int, chat: FakeChatServer, runs: Runs
):
    arrivals = chat.requests = Arrivals()
    process = await runs.start(project_id="shop", user_id="u", max_iterations=400)
    async with busy(busy_cores):
        cancelled_at, taken_at = await cancel(process, after_s)
        await process.wait(120)
    states = await process.history()
    types = [state.type for state in states]
    after_running = types[types.index(StateType.RUNNING) + 1 :]
    assert set(after_running) == {StateType.CANCELLING, StateType.CANCELLED}
    assert after_running[0] == StateType.CANCELLING
    (cancelled, *_) = [state for state in states if state.type == StateType.CANCELLED]
    assert cancelled.timestamp.timestamp() - cancelled_at < CANCELLED_WITHIN_S
    assert [at - taken_at for at in arrivals.times if at > taken_at + PAID_WITHIN_S] == []
