import asyncio

import uvloop

import tasks


async def _current() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_a_loop_that_prefect_makes_for_a_run_is_that_of_libuv():
    assert tasks.__doc__
    assert isinstance(asyncio.run(_current()), uvloop.Loop)
