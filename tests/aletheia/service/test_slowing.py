"""Who guesses keys waits ever longer; nobody else does."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from aletheia.service.slowing import (
    FORGOTTEN_AFTER_S,
    FREE_GUESSES,
    MAX_ADDRESSES,
    MAX_PAUSED,
    Slowdown,
)
from tests.fakes.clock import MovableClock
from tests.fakes.service import calling, make_token, open_service


def test_the_first_mistakes_are_answered_at_once_and_then_ever_later():
    slowdown = Slowdown()
    assert [slowdown.count("a") for _ in range(FREE_GUESSES)] == [0.0] * FREE_GUESSES
    pauses = [slowdown.count("a") for _ in range(30)]
    assert 0 < pauses[0] <= 0.1
    assert 0.5 < max(pauses) <= 2
    assert slowdown.count("another") == 0


def test_an_address_is_forgotten_after_a_while_and_when_there_are_too_many():
    clock = MovableClock()
    slowdown = Slowdown(clock.both)
    for _ in range(FREE_GUESSES):
        slowdown.count("a")
    clock.move(seconds=FORGOTTEN_AFTER_S + 1)
    assert slowdown.count("a") == 0
    for _ in range(FREE_GUESSES):
        slowdown.count("b")
    for number in range(MAX_ADDRESSES):
        slowdown.count(f"other-{number}")
    assert slowdown.count("b") == 0


async def test_answers_that_wait_have_an_end():
    slowdown = Slowdown()
    for _ in range(FREE_GUESSES + 20):
        slowdown.count("a")
    waiting = [asyncio.create_task(slowdown.pause("a")) for _ in range(MAX_PAUSED)]
    await asyncio.sleep(0)
    await asyncio.wait_for(slowdown.pause("a"), 0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert any(task.cancelled() for task in waiting)


async def test_wrong_tokens_are_slowed_and_a_right_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="aletheia.service")
    async with open_service(tmp_path) as service, calling(service) as client:

        async def ask(token: str) -> tuple[int, float]:
            began = time.perf_counter()
            headers = {"Authorization": f"Bearer {token}"}
            async with client.session.get("/api/v1/workers", headers=headers) as response:
                return response.status, time.perf_counter() - began

        guesses = [await ask(f"wrong-{number}") for number in range(FREE_GUESSES + 12)]
        right = await ask(make_token())
    assert {status for status, _ in guesses} == {401}
    assert sum(seconds for _, seconds in guesses[FREE_GUESSES:]) > 1
    assert right[0] == 200
    assert right[1] < 0.5
    assert "it is slowed down" in caplog.text
    assert "wrong-1" not in caplog.text
