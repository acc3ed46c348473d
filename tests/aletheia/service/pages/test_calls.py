"""Calls of the service's own routes."""

from collections.abc import Callable
from functools import partial

import pytest
from fastapi import FastAPI

from aletheia.service.actions import StartedRun
from aletheia.service.health import Readiness
from aletheia.service.operations import DeadLettersPage
from aletheia.service.pages.calls import Calls, join_path
from aletheia.service.refusals import ServiceError
from tests.fakes.service import FakeService, make_token


async def test_a_route_answers_as_from_outside(service: FakeService):
    calls = Calls(service.app, make_token("viewer"))
    found = await calls.read(DeadLettersPage, "/api/v1/dead-letters", limit=1, code=None)
    assert found.dead_letters == []
    ready = await calls.read(Readiness, "/health/ready", allowed=[503])
    assert {check.name for check in ready.checks} >= {"store", "sign-in"}


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (partial(make_token, "viewer"), "forbidden"),
        (partial(make_token, "operator", exp=1), "expired_token"),
        (lambda: "nonsense", "invalid_token"),
    ],
    ids=["another role", "expired", "nonsense"],
)
async def test_what_a_token_may_not_is_refused(
    service: FakeService, make: Callable[[], str], code: str
):
    calls = Calls(service.app, make())
    with pytest.raises(ServiceError) as refused:
        await calls.act(StartedRun, "/api/v1/dead-letters/replay", {})
    assert refused.value.code == code
    assert service.orchestrator.asked == 0


async def test_a_key_makes_of_two_calls_one_run(service: FakeService):
    calls = Calls(service.app, make_token("operator"))
    path = "/api/v1/dead-letters/replay"
    runs = [await calls.act(StartedRun, path, {}, key="k1") for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(service.orchestrator.runs) == 1


async def test_an_answer_that_is_none_of_ours_is_an_error():
    calls = Calls(FastAPI(), "a-token")
    with pytest.raises(ServiceError) as refused:
        await calls.read(StartedRun, "/nothing")
    assert refused.value.code == "internal_error"


def test_a_path_is_made_of_any_names():
    assert join_path("a", "b/c?d", "..", "ü") == "/a/b%2Fc%3Fd/../%C3%BC"
