import asyncio
import os
import signal
from collections.abc import Generator

import pytest
from prefect.exceptions import TerminationSignal

from tasks import event_loop

event_loop.use()


async def current() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@pytest.fixture
def told() -> Generator[None]:
    """What Prefect's handler of SIGTERM does, while a flow runs."""

    def tell(number: int, frame: object) -> None:
        del frame
        raise TerminationSignal(signal=number)

    before = signal.signal(signal.SIGTERM, tell)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_loop_that_prefect_makes_for_a_run_is_that_of_libuv():
    assert isinstance(asyncio.run(current()), event_loop.Loop)


@pytest.mark.usefixtures("told")
def test_a_run_that_waits_ends_when_its_process_is_told_to():
    ended: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(10)
        finally:
            ended.append("in order")

    with pytest.raises(TerminationSignal):
        asyncio.run(work())
    assert ended == ["in order"]


def test_any_other_fault_of_a_callback_is_told_and_ends_nothing():
    told: list[object] = []

    async def work() -> str:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.01)
        return "done"

    assert asyncio.run(work()) == "done"
    assert [type(one) for one in told] == [ZeroDivisionError]
