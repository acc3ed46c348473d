"""What a cancelled run still does, and that nothing cuts it short."""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Cancelling, Paused, Pending, Running, Scheduled

from tasks import cancelling


class SlowServer:
    """A Prefect server that takes its time to accept a state."""

    def __init__(self) -> None:
        self.run_id = uuid4()
        self.states: list[State[Any]] = [Running()]
        self.is_asked = asyncio.Event()
        self.accepted: list[str] = []
        self.hanging_reads = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    async def read_flow_run_states(self, run_id: UUID) -> list[State[Any]]:
        """Return all states there were."""
        assert run_id == self.run_id
        if self.hanging_reads:
            self.hanging_reads -= 1
            await asyncio.sleep(60)
        return list(self.states)

    async def set_flow_run_state(self, run_id: UUID, state: State[Any]) -> None:
        """Accept a state, slowly."""
        assert run_id == self.run_id
        self.is_asked.set()
        await asyncio.sleep(0.05)
        self.accepted.append(state.type.value)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> SlowServer:
    server = SlowServer()
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(server.run_id))
    monkeypatch.setattr(cancelling, "get_client", lambda: server)
    monkeypatch.setattr(cancelling, "RUNNER_WITHIN_S", 0.0)
    return server


async def test_a_second_cancellation_does_not_keep_a_run_from_saying_that_it_is_cancelled(
    server: SlowServer,
):
    ended: list[bool] = []

    async def work() -> None:
        async with cancelling.heard(every_s=0.01, on_cancel=lambda: ended.append(True)):
            server.states.append(Cancelling())
            await asyncio.sleep(60)

    run = asyncio.create_task(work())
    async with asyncio.timeout(10):
        await server.is_asked.wait()
        # As the runner's SIGTERM does, which comes while the run reports what its watch has read.
        run.cancel()
        with pytest.raises(cancelling.RunCancelled):
            await run
    assert server.accepted == ["CANCELLED"]
    assert ended == [True]


@pytest.mark.parametrize("reads", [1, 3])
async def test_a_read_that_hangs_does_not_keep_a_cancellation_from_being_heard(
    server: SlowServer, monkeypatch: pytest.MonkeyPatch, reads: int
):
    monkeypatch.setattr(cancelling, "READ_WITHIN_S", 0.05)
    monkeypatch.setattr(cancelling, "get_run_logger", logging.getLogger)
    server.hanging_reads = reads
    server.states.append(Cancelling())
    async with asyncio.timeout(10):
        with pytest.raises(cancelling.RunCancelled):
            async with cancelling.heard(every_s=0.01):
                await asyncio.sleep(60)
    assert server.accepted == ["CANCELLED"]


@pytest.mark.parametrize("times", [1, 3])
async def test_work_is_finished_however_often_its_caller_is_cancelled(times: int):
    done: list[str] = []

    async def close() -> None:
        await asyncio.sleep(0.05)
        done.append("closed")

    caller = asyncio.create_task(cancelling.finish(close()))
    for _ in range(times):
        await asyncio.sleep(0)
        caller.cancel()
    await caller
    assert done == ["closed"]


async def test_the_error_of_work_that_is_finished_is_raised():
    async def close() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await cancelling.finish(close())


@pytest.mark.parametrize("first", [Cancelling, Cancelled])
async def test_a_cancellation_that_the_start_of_the_run_overwrote_is_heard(
    server: SlowServer, first: Callable[[], State[Any]]
):
    server.states = [first(), Running()]
    async with asyncio.timeout(10):
        with pytest.raises(cancelling.RunCancelled):
            async with cancelling.heard(every_s=0.01):
                await asyncio.sleep(60)


async def test_a_run_that_was_started_again_after_its_cancellation_goes_on(server: SlowServer):
    server.states = [Cancelled(), Scheduled(), Pending(), Running()]
    looks: list[bool] = []
    async with cancelling.heard(looks.append, every_s=0.01):
        await asyncio.sleep(0.05)
        server.states.append(Paused())
        await asyncio.sleep(0.05)
    assert looks[0] is False
    assert looks[-1] is True
