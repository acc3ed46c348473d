"""How many requests are worked on at once, and what those hear that have to wait."""

import asyncio

import pytest
from fastapi import APIRouter, Request

from aletheia.errors import Misconfigured, Unavailable
from aletheia.service import guarding
from aletheia.service.app import create_app
from aletheia.service.guarding import MIN_KEY_BYTES, BearerKey, LateKey, Slots, guarded_by
from aletheia.service.parts import Part, fixed, missing
from aletheia.service.refusal_counts import RefusalCounts
from aletheia.service.refusals import ServiceError
from tests.aletheia.service.test_health import ask, calling

WORD = "the-key-of-these-tests-is-long-enough"
KEY = BearerKey(WORD, "THE_SETTING")
HEADERS = {"Authorization": f"Bearer {WORD}"}


async def test_no_more_than_so_many_are_worked_on_at_once():
    slots, at_once, max_at_once = Slots(3), 0, 0

    async def work() -> None:
        nonlocal at_once, max_at_once
        async with slots.taken():
            at_once += 1
            max_at_once = max(max_at_once, at_once)
            await asyncio.sleep(0.01)
            at_once -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert max_at_once == 3


async def test_who_would_wait_too_long_or_behind_too_many_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guarding, "MAX_WAIT_S", 0.05)
    slots = Slots(1, waiting=1)
    async with slots.taken():
        waiting = asyncio.create_task(slots.taken().__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(ServiceError) as refused:
            async with slots.taken():
                pass
        assert (refused.value.status_code, refused.value.code) == (503, "too_busy")
        with pytest.raises(ServiceError):
            await waiting
    async with slots.taken():
        pass


async def test_strangers_take_no_slots():
    slots, asked = Slots(1, waiting=0), 0
    router = APIRouter(route_class=guarded_by(KEY, slots=slots))

    @router.post("/work")
    async def work(request: Request) -> str:
        nonlocal asked
        asked += 1
        return (await request.body()).decode()

    async with calling(create_app([router], KEY, [])) as session:

        async def knock() -> int:
            async with session.post("/work", data=b"x" * 1_000) as response:
                return response.status

        statuses = await asyncio.gather(*(knock() for _ in range(50)))
        assert set(statuses) == {401}
        assert asked == 0


@pytest.mark.parametrize(
    "error", [Misconfigured("block", "is not saved"), Unavailable("prefect", "away")], ids=str
)
async def test_a_key_that_cannot_be_read_lets_nobody_in(error: Misconfigured | Unavailable):
    key = LateKey(missing(error), "THE_SETTING", RefusalCounts())
    router = APIRouter(route_class=guarded_by(key))

    @router.get("/work")
    async def work() -> str:
        return "done"

    with pytest.raises(type(error)):
        await key.ping()
    async with calling(create_app([router], key, [])) as session:
        session.headers.update(HEADERS)
        status, answer = await ask(session, "/work")
        assert (status, answer["error"]["code"]) == (503, "no_key_configured")


async def test_a_key_is_read_when_somebody_calls():
    key = LateKey(fixed(WORD), "THE_SETTING", RefusalCounts())
    router = APIRouter(route_class=guarded_by(key))

    @router.get("/work")
    async def work() -> str:
        return "done"

    async with calling(create_app([router], key, [])) as session:
        assert (await ask(session, "/work"))[0] == 401
        session.headers.update(HEADERS)
        assert await ask(session, "/work") == (200, "done")


@pytest.mark.parametrize(
    ("key", "sent", "expected"),
    [
        (fixed(""), {}, 200),
        (fixed(""), HEADERS, 200),
        (fixed(WORD), HEADERS, 200),
        (fixed(WORD), {}, 401),
        (fixed(WORD), {"Authorization": f"Bearer {WORD[:-1]}"}, 401),
        (fixed(WORD), {"Authorization": f"Bearer {WORD}\u00fc"}, 401),
        (missing(Unavailable("prefect", "away")), HEADERS, 503),
        (missing(Unavailable("prefect", "away")), {}, 503),
    ],
)
async def test_what_is_open_without_a_key_is_closed_with_one_or_while_that_is_not_known(
    key: Part[str], sent: dict[str, str], expected: int
):
    refusals = RefusalCounts()
    guard = LateKey(key, "THE_SETTING", refusals, is_open_without=True)
    router = APIRouter(route_class=guarded_by(guard))

    @router.get("/work")
    async def work() -> str:
        return "done"

    async with calling(create_app([router], guard, [])) as session:
        session.headers.update(sent)
        assert (await ask(session, "/work"))[0] == expected
    assert sum(refusals.unsaved.values()) == (expected != 200)


@pytest.mark.parametrize("key", ["", "k", "k" * (MIN_KEY_BYTES - 1)])
async def test_a_key_that_can_be_guessed_lets_nobody_in_even_who_sends_it(key: str):
    guard = LateKey(fixed(key), "THE_SETTING", RefusalCounts())
    router = APIRouter(route_class=guarded_by(guard))

    @router.get("/work")
    async def work() -> str:
        return "done"

    with pytest.raises(Misconfigured, match="THE_SETTING"):
        await guard.ping()
    async with calling(create_app([router], guard, [])) as session:
        session.headers["Authorization"] = f"Bearer {key}"
        status, answer = await ask(session, "/work")
        assert (status, answer["error"]["code"]) == (503, "no_key_configured")
        assert "32 characters or more" in answer["error"]["message"]
