import orjson
import pytest
from fastapi import APIRouter

from aletheia.errors import (
    AletheiaError,
    Conflict,
    InvalidTask,
    Misconfigured,
    Refused,
    Unauthorized,
    Unavailable,
)
from aletheia.service.app import create_app
from aletheia.service.guarding import BearerKey, guarded_by
from aletheia.service.refusals import ServiceError, answer_refusal, describe_refusals
from tests.aletheia.service.test_health import ask, calling

KEY = BearerKey("the-key-of-these-tests-is-long-enough", "THE_SETTING")


def test_a_refusal_is_answered_with_its_code_and_headers():
    answer = answer_refusal(ServiceError(503, "too_busy", "later \ud800", {"Retry-After": "5"}))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert orjson.loads(bytes(answer.body)) == {"error": {"code": "too_busy", "message": "later ?"}}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidTask("invalid_parameters", "no"), 422, "invalid_parameters"),
        (Unavailable("prefect", "away"), 503, "unavailable"),
        (Misconfigured("PREFECT_API_URL", "is not set"), 502, "backend_refused"),
        (Unauthorized("prefect", 401), 502, "backend_refused"),
        (Refused("prefect", 418), 502, "backend_refused"),
        (Conflict("prefect", 409), 502, "backend_refused"),
    ],
    ids=str,
)
async def test_our_own_errors_have_their_answers(error: AletheiaError, status: int, code: str):
    router = APIRouter(route_class=guarded_by(KEY))

    @router.get("/work")
    async def work() -> str:
        raise error

    async with calling(create_app([router], KEY, [])) as session:
        session.headers["Authorization"] = "Bearer the-key-of-these-tests-is-long-enough"
        found, answer = await ask(session, "/work")
        assert (found, answer["error"]["code"]) == (status, code)


def test_descriptions_are_by_status():
    described = describe_refusals({})
    assert described == {}
