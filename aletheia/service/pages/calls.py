"""Calls of the service's own routes, in process, with somebody's token.

The routes are asked as from outside, so that their guards, bounds, records and refusals hold for
pages too. No socket is opened: the transport hands each request to the application.
"""

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp

from aletheia.service.refusals import Refused, ServiceError

ModelT = TypeVar("ModelT", bound=BaseModel)

QueryValue: TypeAlias = str | int | bool | Sequence[str] | None

_BASE: Final = "http://service"
"""Stands where an address has to stand; nothing is sent there."""

TIMEOUT_S: Final = 180.0
"""Not reached in process, where a route bounds what it waits for; the longest is reasoning."""

NOTHING: Final[Mapping[str, str]] = {}


class Calls:
    """Calls the routes of an application as one bearer of a token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url=_BASE,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=TIMEOUT_S,
        )

    async def read(
        self,
        answer: type[ModelT],
        path: str,
        *,
        allowed: Collection[int] = (),
        **query: QueryValue,
    ) -> ModelT:
        """Return what a route answers; `allowed` are statuses that are a success beside 200.

        Raises:
            ServiceError: what the route refused with.
        """
        params = {name: value for name, value in query.items() if value is not None}
        response = await self._client.get(path, params=params)
        return _parse(answer, response, allowed)

    async def act(
        self,
        answer: type[ModelT],
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> ModelT:
        """Ask a route to do something; raises as `read`.

        `key`: a second call with the same one does nothing more, where the route takes one.
        """
        headers = NOTHING if key is None else {"Idempotency-Key": key}
        response = await self._client.post(path, json=body, headers=headers)
        return _parse(answer, response, ())


def join_path(*names: str) -> str:
    """Return a path of names, each of which may hold anything."""
    return "/" + "/".join(quote(name, safe="") for name in names)


def _parse(answer: type[ModelT], response: httpx.Response, allowed: Collection[int]) -> ModelT:
    if response.is_success or response.status_code in allowed:
        return answer.model_validate_json(response.content)
    try:
        refusal = Refused.model_validate_json(response.content).error
    except ValidationError:
        message = "something went wrong here; the log has more"
        raise ServiceError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message) from None
    raise ServiceError(response.status_code, refusal.code, refusal.message)
