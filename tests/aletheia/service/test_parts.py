import asyncio

import pytest

from aletheia.errors import Misconfigured, Unavailable
from aletheia.service.parts import Part, fixed, missing


class Opening:
    """Opens something, or fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.opened = failures, 0

    async def __call__(self) -> str:
        self.opened += 1
        await asyncio.sleep(0.01)
        if self.failures:
            self.failures -= 1
            raise Unavailable("store", "made to be away")
        return "open"


async def test_it_is_opened_once_for_all_that_ask():
    opening = Opening()
    part = Part(opening)
    assert await asyncio.gather(*(part.get() for _ in range(50))) == ["open"] * 50
    assert await part.get() == "open"
    assert opening.opened == 1


async def test_all_that_wait_share_a_failure_and_the_next_one_tries_again():
    opening = Opening(failures=1)
    part = Part(opening)
    answers = await asyncio.gather(*(part.get() for _ in range(10)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert await part.get() == "open"
    assert opening.opened == 2


async def test_a_failure_may_stand_for_a_while():
    opening = Opening(failures=1)
    part = Part(opening, retry_after_s=60)
    for _ in range(5):
        with pytest.raises(Unavailable):
            await part.get()
    assert opening.opened == 1


async def test_one_that_stops_waiting_stops_nobody_else():
    part = Part(Opening())
    impatient = asyncio.create_task(part.get())
    patient = asyncio.create_task(part.get())
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "open"


async def test_a_ping_opens_it_and_checks_it():
    checked: list[str] = []

    async def check(part: str) -> None:
        checked.append(part)

    await fixed("open").ping(check)
    assert checked == ["open"]
    with pytest.raises(Misconfigured):
        await missing(Misconfigured("REDIS_URL", "is not set")).ping()
