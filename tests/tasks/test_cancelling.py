"""What a cancelled run still does, and that nothing cuts it short."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import State, StateDetails
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Cancelling, Paused, Pending, Running, Scheduled
from prefect.utilities.engine import capture_sigterm

from aletheia.store.patience import Patience
from tasks import cancelling, event_loop


class SlowServer:
    """A Prefect server that takes its time to accept a state."""

    def __init__(self) -> None:
        self.run_id = uuid4()
        self.states: list[State[Any]] = [Running()]
        self.is_asked = asyncio.Event()
        self.accepted: list[str] = []
        self.hanging_reads = 0
        self.read_s = 0.0
        self.reads = 0

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
        self.reads += 1
        states = list(self.states)
        await asyncio.sleep(self.read_s)
        return states

    async def set_flow_run_state(
        self, run_id: UUID, state: State[Any], force: bool = False
    ) -> None:
        """Accept a state, slowly."""
        del force
        assert run_id == self.run_id
        self.is_asked.set()
        await asyncio.sleep(0.05)
        self.accepted.append(state.type.value)
        self.states.append(state)


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

    class Noting(Patience):
        def end(self) -> None:
            ended.append(True)

    async def work() -> None:
        async with cancelling.watching(every_s=0.01, patience=Noting()):
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
            async with cancelling.watching(every_s=0.01):
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
            async with cancelling.watching(every_s=0.01):
                await asyncio.sleep(60)


async def test_a_run_that_was_started_again_after_its_cancellation_goes_on(server: SlowServer):
    server.states = [Cancelled(), Scheduled(), Pending(), Running()]
    states: list[bool] = []
    async with cancelling.watching(states.append, every_s=0.01):
        await asyncio.sleep(0.05)
        server.states.append(Paused())
        await asyncio.sleep(0.05)
    assert states[0] is False
    assert states[-1] is True


async def test_what_the_runner_says_late_does_not_end_a_run_that_was_started_again(
    server: SlowServer,
):
    server.states = [Cancelling(), Cancelled(), Scheduled(), Pending(), Running()]
    async with cancelling.watching(every_s=0.01):
        await asyncio.sleep(0.05)
        server.states.append(Cancelled(message=cancelling.RUNNER_SAYS))
        await asyncio.sleep(0.1)
    assert server.accepted == ["RUNNING"]  # which it is, and has its slot


@pytest.mark.parametrize("is_starting", [True, False])
async def test_a_run_that_loses_its_slot_to_what_the_runner_says_late_is_started_once_more(
    server: SlowServer, is_starting: bool
):
    slot = StateDetails(deployment_concurrency_lease_id=uuid4())
    server.states = [Cancelling(), Cancelled(), Scheduled(), Pending()]
    server.states += [] if is_starting else [Running()]
    server.states += [Cancelled(message=cancelling.RUNNER_SAYS, state_details=slot)]
    server.states += [Running()] if is_starting else []
    async with asyncio.timeout(10):
        with pytest.raises(cancelling.RunPostponed):
            async with cancelling.watching(every_s=0.01):
                await asyncio.sleep(60)
    assert server.accepted == ["SCHEDULED"]
    server.states += [Pending(), Running()]
    async with cancelling.watching(every_s=0.01):
        await asyncio.sleep(0.05)
    assert server.accepted == ["SCHEDULED"]


@pytest.mark.parametrize("late", [0, 1])
async def test_a_run_that_was_started_again_can_be_cancelled_again(server: SlowServer, late: int):
    server.states = [Cancelling(), Cancelled(), Scheduled(), Pending(), Running(), Cancelling()]
    server.states += [Cancelled(message=cancelling.RUNNER_SAYS)] * late
    async with asyncio.timeout(10):
        with pytest.raises(cancelling.RunCancelled):
            async with cancelling.watching(every_s=0.01):
                await asyncio.sleep(60)


@pytest.mark.parametrize("every_s", [0.25, 60])
async def test_no_paid_call_begins_once_the_server_has_taken_a_cancellation(
    server: SlowServer, monkeypatch: pytest.MonkeyPatch, every_s: float
):
    monkeypatch.setattr(cancelling, "FRESH_S", 0.0)
    server.read_s = 0.1
    paid: list[str] = []
    async with asyncio.timeout(10):
        with pytest.raises(cancelling.RunCancelled):
            async with cancelling.watching(every_s=every_s) as watch:
                await watch.confirm()
                paid.append("before")
                server.states.append(Cancelling())
                await watch.confirm()
                paid.append("after")
                await asyncio.sleep(60)
    assert paid == ["before"]


async def test_paid_calls_wait_once_for_a_server_that_does_not_answer(
    server: SlowServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cancelling, "CONFIRM_WITHIN_S", 0.1)
    server.hanging_reads = 1
    loop = asyncio.get_running_loop()
    async with cancelling.watching(every_s=0.01) as watch:
        began_s = loop.time()
        for _ in range(50):
            await watch.confirm()
    assert 0.09 <= loop.time() - began_s < 1


async def test_paid_calls_that_follow_each_other_need_no_read_each(server: SlowServer):
    async with cancelling.watching(every_s=60) as watch:
        for _ in range(500):
            await watch.confirm()
            await asyncio.sleep(0)
    assert server.reads <= 3


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_the_store_is_not_waited_for_any_more_once_a_run_is_to_end(
    server: SlowServer, is_cancelled: bool
):
    ended: list[str] = []

    class Noting(Patience):
        def end(self) -> None:
            ended.append("the wait")

    async def work() -> None:
        async with cancelling.watching(every_s=0.01, patience=Noting()):
            if is_cancelled:
                server.states.append(Cancelling())
            else:
                os.kill(os.getpid(), signal.SIGTERM)
            try:
                await asyncio.sleep(10)
            finally:
                ended.append("the work")

    event_loop.use()
    error = cancelling.RunCancelled if is_cancelled else TerminationSignal
    with capture_sigterm(), pytest.raises(error):
        asyncio.run(work())
    assert ended == ["the wait", "the work"]
