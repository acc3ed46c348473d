import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from prefect.exceptions import TerminationSignal
from prefect.utilities.engine import capture_sigterm, is_prefect_sigterm_handler_installed

from tasks import event_loop

event_loop.use()


async def current() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def terminate_in_a_callback() -> None:
    asyncio.get_running_loop().call_later(0.05, terminate)


def terminate_in_a_task() -> None:
    async def call() -> None:
        await asyncio.sleep(0.05)
        terminate()

    terminating.append(asyncio.create_task(call()))


def terminate_in_a_finaliser() -> None:
    class Finalised:
        def __del__(self) -> None:
            terminate()

    asyncio.get_running_loop().call_later(0.05, lambda held: held.clear(), [Finalised()])


terminating: list[asyncio.Task[None]] = []


def test_a_loop_that_prefect_makes_for_a_run_is_that_of_libuv():
    assert isinstance(asyncio.run(current()), event_loop.Loop)


@pytest.mark.parametrize(
    "terminate_by",
    [terminate, terminate_in_a_callback, terminate_in_a_task, terminate_in_a_finaliser],
)
def test_wherever_a_termination_finds_its_process_the_run_ends_in_order(
    terminate_by: Callable[[], None],
):
    ended: list[str] = []

    async def work() -> None:
        event_loop.attend()
        try:
            terminate_by()
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.01)
            ended.append("in order" if event_loop.is_terminated() else "by itself")

    with pytest.raises(asyncio.CancelledError), capture_sigterm():
        asyncio.run(work())
    assert ended == ["in order"]


def test_a_run_that_is_terminated_twice_ends_once():
    ended: list[str] = []

    async def work() -> None:
        event_loop.attend()
        try:
            terminate()
            await asyncio.sleep(10)
        finally:
            terminate()
            await asyncio.sleep(0.05)
            ended.append("in order")

    with pytest.raises(asyncio.CancelledError), capture_sigterm():
        asyncio.run(work())
    assert ended == ["in order"]


def test_a_run_that_is_terminated_while_it_begins_ends_once_it_knows_how_to():
    reached: list[str] = []

    async def work() -> None:
        terminate()
        await asyncio.sleep(0.05)
        reached.append("the work")
        event_loop.attend()
        await asyncio.sleep(10)

    with pytest.raises(asyncio.CancelledError), capture_sigterm():
        asyncio.run(work())
    assert reached == ["the work"]


def test_a_run_that_never_knows_how_to_ends_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_loop, "BEGIN_WITHIN_S", 0.05)

    async def work() -> None:
        terminate()
        await asyncio.sleep(10)

    with pytest.raises(asyncio.CancelledError), capture_sigterm():
        asyncio.run(work())


def test_prefect_takes_the_handler_for_its_own_and_acknowledges_a_cancellation():
    async def work() -> bool:
        event_loop.attend()
        return is_prefect_sigterm_handler_installed()

    with capture_sigterm():
        assert asyncio.run(work())


def test_a_process_without_a_run_is_terminated_as_prefect_has_it():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(TerminationSignal), capture_sigterm():
            terminate()
    finally:
        signal.signal(signal.SIGTERM, before)
