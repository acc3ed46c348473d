import asyncio

import pytest

from aletheia.errors import Misconfigured, Unavailable
from aletheia.service import parts
from aletheia.service.parts import Part, derive, fixed, missing


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


class Changing:
    """Opens what it is set to, or fails with what it is set to."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.error: Exception | None = None
        self.opened, self.takes_s = 0, 0.0

    async def __call__(self) -> str:
        self.opened += 1
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return self.value


async def test_what_is_renewed_is_seen_to_change():
    changing = Changing("old")
    part = Part(changing, renew_after_s=0.0)
    assert await part.get() == "old"
    changing.value = "new"
    assert await part.get() == "new"


async def test_it_is_not_opened_anew_before_its_time():
    changing = Changing("old")
    part = Part(changing, renew_after_s=60)
    for _ in range(5):
        assert await part.get() == "old"
    assert changing.opened == 1


async def test_while_it_is_out_of_reach_the_earlier_one_serves():
    changing = Changing("old")
    part = Part(changing, renew_after_s=0.0)
    await part.get()
    changing.error, changing.value = Unavailable("prefect", "away"), "new"
    assert [await part.get() for _ in range(3)] == ["old"] * 3
    changing.error = None
    assert await part.get() == "new"


@pytest.mark.parametrize("error", [Misconfigured("block", "is not saved"), RuntimeError("a bug")])
async def test_what_is_gone_for_good_serves_nobody(error: Exception):
    changing = Changing("old")
    part = Part(changing, renew_after_s=0.0)
    await part.get()
    changing.error = error
    for _ in range(2):
        with pytest.raises(type(error)):
            await part.get()
    changing.error, changing.value = None, "new"
    assert await part.get() == "new"


async def test_nobody_waits_long_for_a_newer_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "RENEWAL_WAIT_S", 0.01)
    changing = Changing("old")
    part = Part(changing, renew_after_s=0.0)
    await part.get()
    changing.value, changing.takes_s = "new", 0.2
    assert await asyncio.gather(*(part.get() for _ in range(10))) == ["old"] * 10
    assert changing.opened == 2, "all of them share an attempt"
    await asyncio.sleep(0.3)
    assert await part.get() == "new"


async def test_what_is_derived_is_built_anew_only_after_a_change():
    changing, built = Changing("old"), list[str]()

    async def build(value: str) -> str:
        built.append(value)
        if value == "bad":
            raise Misconfigured("SECRET", "is too short")
        return value.upper()

    part = derive(Part(changing, renew_after_s=0.0), build, retry_after_s=0.0)
    assert [await part.get() for _ in range(3)] == ["OLD"] * 3
    assert built == ["old"]
    changing.value = "new"
    assert [await part.get() for _ in range(2)] == ["NEW"] * 2
    assert built == ["old", "new"]
    changing.value = "bad"
    with pytest.raises(Misconfigured):
        await part.get()
    changing.value = "good"
    assert await part.get() == "GOOD"
