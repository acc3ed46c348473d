"""How the service answers when something goes wrong: as JSON, with a stable code."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from aletheia.brain.ports import ModelChanged, OtherModel
from aletheia.errors import (
    AletheiaError,
    ComputeFailed,
    Deferred,
    InvalidTask,
    ModelUnavailable,
    Unavailable,
)
from aletheia.store.clock import SYSTEM_CLOCK, moment

log = logging.getLogger(__name__)

_CODES: Final[Mapping[int, str]] = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
}
MEANINGS: Final = {
    HTTPStatus.UNAUTHORIZED: "`missing_key` or `wrong_key`.",
    HTTPStatus.CONFLICT: "`embedding_model_changed`: what is indexed was embedded by another "
    "model, named in `details`; `reconcile` has to be run where the service is. "
    "`other_embedding_model`: the model named in `X-Aletheia-Model` is not the one that the "
    "service embeds with; `details` has both.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "`invalid_request`, or what is wrong in particular: "
    "`invalid_project_id`, `missing_query`, `wrong_dimensions`, `invalid_vector`, "
    "`input_too_long`.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "`internal_error`.",
    HTTPStatus.BAD_GATEWAY: "`backend_refused`: what the service itself depends on refuses it; "
    "its configuration has to be corrected.",
    HTTPStatus.SERVICE_UNAVAILABLE: "`no_key_configured`; or, for now, `unavailable`, "
    "`bad_answer`, `model_unavailable`, `rate_limited`, `budget_exceeded`, `breaker_open`, or the "
    "code that embedding ended with, as `model_crashed`. Try again after `Retry-After`.",
}
"""What statuses mean that any route of the Brain API may answer with."""

NO_HTTP: Final = "the request is not HTTP, or its line and headers are longer than 16 KiB"

HTTP_MEANINGS: Final = {HTTPStatus.BAD_REQUEST: f"`invalid_http`: {NO_HTTP}."}
"""What a status means that every route may answer with, whatever it is for."""

BODY_MEANINGS: Final = {
    HTTPStatus.BAD_REQUEST: "`invalid_json`: the body is not JSON. NaN and Infinity are not, nor "
    f"is deeper nesting than 1,000 levels. Or {HTTP_MEANINGS[HTTPStatus.BAD_REQUEST]}",
    HTTPStatus.REQUEST_TIMEOUT: "`body_too_slow`: the body did not arrive in time.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "`body_too_large`.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "`unsupported_media_type`: the body must be "
    "application/json, not compressed.",
}
"""What further statuses mean, of a route that takes a body."""

TOKEN_MEANINGS: Final = {
    HTTPStatus.UNAUTHORIZED: "`missing_token`, `invalid_token` or `expired_token`.",
    HTTPStatus.FORBIDDEN: "`forbidden`: the token has none of the roles in `x-roles`.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "`invalid_request`, `invalid_project_id` or `invalid_cursor`.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "`internal_error`.",
    HTTPStatus.BAD_GATEWAY: "`backend_refused`: what the service itself depends on refuses it, or "
    "is not set up; its configuration has to be corrected.",
    HTTPStatus.SERVICE_UNAVAILABLE: "`no_authentication_configured`, `keys_unavailable`, "
    "`too_busy`; or `unavailable`: what the service depends on is away. Try again after "
    "`Retry-After`.",
}
"""What statuses mean that any route for bearers of tokens may answer with."""

NOT_FOUND_MEANING: Final = {
    HTTPStatus.NOT_FOUND: "`not_found`: there is no such thing, or it is older than what is kept."
}

AWAY: Final = "what the service depends on is away; try again"
REFUSED: Final = "what the service depends on refuses it; the service's log says why"
"""What is said in place of an error's own words, which may name hosts."""

_SCHEMAS: Final = "#/components/schemas/{model}"

_MAX_FAULTS: Final = 5
_MAX_MESSAGE: Final = 500
_MIN_WAIT_S: Final = 1


class Refusal(BaseModel):
    """What went wrong."""

    code: str = Field(description="Stable; programs may rely on it.", examples=["wrong_key"])
    message: str = Field(
        description="For people.", examples=["the key is not the one of this service"]
    )
    details: dict[str, str] | None = Field(
        default=None,
        description="Further values, with some codes.",
        exclude_if=lambda details: details is None,
    )


class Refused(BaseModel):
    """The body of every answer that is no success."""

    error: Refusal


class ServiceError(HTTPException):
    """An answer that is no success, with a stable code and one sentence for whoever called."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.code = code


def describe_refusals(meanings: Mapping[HTTPStatus, str]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of what statuses mean.

    It refers to the schema by name: FastAPI would build a model anew for each status of each route,
    half of the time that the service takes to start.
    """
    content = {"application/json": {"schema": {"$ref": _SCHEMAS.format(model="Refused")}}}
    return {status: {"description": said, "content": content} for status, said in meanings.items()}


def describe_no_http() -> bytes:
    """Return the body of the answer to what is not HTTP, or has too long a head."""
    return Refused(error=Refusal(code="invalid_http", message=NO_HTTP)).model_dump_json().encode()


def answer_refusal(refusal: ServiceError) -> JSONResponse:
    """Return the answer that a refusal means."""
    return _answer(refusal.status_code, refusal.code, str(refusal.detail), refusal.headers)


def install_refusals(app: FastAPI) -> None:
    """Make an application answer in our form whatever goes wrong."""
    handlers: Mapping[type[Exception], Any] = {
        HTTPException: _answer_http,
        RequestValidationError: _answer_invalid,
        AletheiaError: _answer_ours,
        Exception: _answer_bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.openapi = partial(_describe_with_schemas, app.openapi)


def _describe_with_schemas(describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return an application's OpenAPI document with the schemas that refusals refer to."""
    document = describe()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    ours = Refused.model_json_schema(ref_template=_SCHEMAS)
    found = {**schemas, **ours.pop("$defs"), "Refused": ours}
    document["components"]["schemas"] = dict(sorted(found.items()))
    return document


def _answer(
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    details: dict[str, str] | None = None,
) -> JSONResponse:
    shown = message.encode(errors="replace").decode()[:_MAX_MESSAGE]
    body = Refused(error=Refusal(code=code, message=shown, details=details))
    return JSONResponse(body.model_dump(), status, dict(headers or {}))


async def _answer_http(_: Request, error: HTTPException) -> JSONResponse:
    if isinstance(error, ServiceError):
        code = error.code
    else:
        code = _CODES.get(error.status_code, "refused")
    return _answer(error.status_code, code, str(error.detail), error.headers)


async def _answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    faults = cast("Sequence[Mapping[str, Any]]", error.errors())
    is_project = any(
        fault["loc"][-1] == "project_id" and fault["type"] != "missing" for fault in faults
    )
    # The value itself is not repeated: it may hold anything.
    said = [f"{_place(fault['loc'])}: {fault['msg']}" for fault in faults[:_MAX_FAULTS]]
    if len(faults) > _MAX_FAULTS:
        said.append(f"and {len(faults) - _MAX_FAULTS} more")
    code = "invalid_project_id" if is_project else "invalid_request"
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, code, "; ".join(said))


async def _answer_ours(request: Request, error: AletheiaError) -> JSONResponse:
    answer = partial(_answer, code=error.code, message=str(error))
    match error:
        case InvalidTask():
            return answer(HTTPStatus.UNPROCESSABLE_ENTITY)
        case ModelChanged():
            return answer(HTTPStatus.CONFLICT, details={"kept": error.kept, "asked": error.asked})
        case OtherModel():
            return answer(HTTPStatus.CONFLICT, details={"own": error.own, "asked": error.asked})
        case Deferred():
            now = moment(SYSTEM_CLOCK.now())
            wait_s = 0.0 if error.until is None else (error.until - now).total_seconds()
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, headers=_retry_after(wait_s))
        case Unavailable() | ModelUnavailable() | ComputeFailed():
            log.warning("%s %s has to wait: %s", request.method, request.url.path, error)
            said = AWAY if isinstance(error, Unavailable) else str(error)
            headers = _retry_after(error.retry_after_s or 0)
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, message=said, headers=headers)
        case _:
            log.error("%s %s failed: %s", request.method, request.url.path, error)
            return _answer(HTTPStatus.BAD_GATEWAY, "backend_refused", REFUSED)


async def _answer_bug(request: Request, error: Exception) -> JSONResponse:
    del request, error  # the server logs it, with its traceback
    message = "something went wrong here; the log has more"
    # The server hangs up after an error, which whoever uses the connection next should know.
    headers = {"Connection": "close"}
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message, headers)


def _retry_after(wait_s: float) -> dict[str, str]:
    return {"Retry-After": str(max(_MIN_WAIT_S, math.ceil(wait_s)))}


def _place(location: Sequence[int | str]) -> str:
    return ".".join(map(str, location[1:])) or str(location[0])
