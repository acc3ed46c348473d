"""Starts runs through the API of a Prefect server, and asks it for its workers.

See https://docs.prefect.io/v3/api-ref/rest-api. A server that is closed wants a password
(`PREFECT_API_AUTH_STRING`) and, where it is protected against forged requests, a token for each
that changes something.
"""

import asyncio
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import quote

import orjson
from yarl import URL

from aletheia.adapters.http import HttpClient, Retries, is_token, read_base_url
from aletheia.adapters.http_answers import Answer, as_object, as_text, load_json
from aletheia.errors import InvalidTask, Misconfigured, NotFound

PREFECT: Final = "prefect"
"""What errors call the server."""

ADDRESS: Final = "PREFECT_API_URL"
SIGN_IN: Final = "PREFECT_API_AUTH_STRING"
KEY: Final = "PREFECT_API_KEY"
"""The settings that errors point to."""

MAX_ANSWER_BYTES: Final = 8 * 2**20
MAX_POOLS: Final = 50
"""Work pools whose workers are read."""

_ABOUT_PARAMETERS: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
)
_ONLINE: Final = "ONLINE"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, as the server last heard of it."""

    name: str
    pool: str
    is_online: bool
    seen_at: datetime | None


class PrefectApi:
    """The API of one Prefect server.

    `base_url`: its root, with `/api`. `auth_string`: `user:password`; empty: none. `api_key`: that
    of Prefect Cloud; empty: none.

    Raises:
        Misconfigured: the address or the key cannot be right.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth_string: str = "",
        api_key: str = "",
        timeout_s: float = 10.0,  # of one request
        max_retries: int = 2,
        retry_base_s: float = 0.3,
    ) -> None:
        self._base_url = read_base_url(ADDRESS, base_url)
        headers: dict[str, str] = {}
        if auth_string:
            # A password may hold anything that is no line end.
            if not auth_string.isprintable():
                raise Misconfigured(SIGN_IN, "must be user:password, on one line")
            headers["Authorization"] = f"Basic {b64encode(auth_string.encode()).decode()}"
        elif api_key:
            if not is_token(api_key):
                raise Misconfigured(KEY, "must be printable ASCII without spaces")
            headers["Authorization"] = f"Bearer {api_key}"
        self._secrets = tuple(filter(None, (auth_string, api_key)))
        self._http = HttpClient(PREFECT, address=ADDRESS, timeout_s=timeout_s, headers=headers)
        self._retries = Retries(max_retries, retry_base_s)
        self._client_id = str(uuid.uuid4())
        self._token: str | None = None
        self._renewing = asyncio.Lock()

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        await self._http.open()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.close()

    async def ping(self) -> None:
        """Check that the server answers, and takes our sign-in."""
        await self._get("/admin/version")

    async def start(
        self, deployment: str, parameters: Mapping[str, Any], *, idempotency_key: str
    ) -> str:
        """Start a run of a deployment (`flow/deployment`), and return its id.

        A second start with the same key returns the run of the first.

        Raises:
            InvalidTask: `invalid_parameters`: the deployment does not take these.
            Misconfigured: it is not deployed.
            Unauthorized, Refused, Unavailable: as the server answers, or does not.
        """
        path = "/".join(quote(part, safe="") for part in deployment.split("/", 1))
        try:
            found = as_object(await self._get(f"/deployments/name/{path}"))
        except NotFound:
            raise Misconfigured(deployment, "is not deployed; run `aletheia setup`") from None
        body = {
            "state": {"type": "SCHEDULED"},
            "parameters": dict(parameters),
            "idempotency_key": idempotency_key,
        }
        answer = await self._post(f"/deployments/{_id_of(found)}/create_flow_run", body)
        if answer.status in _ABOUT_PARAMETERS:
            raise InvalidTask("invalid_parameters", f"{deployment}: {answer.excerpt()}")
        return _id_of(as_object(_read(answer)))

    async def workers(self) -> Sequence[Worker]:
        """Return the workers of all work pools, by pool and name."""
        pools = _read(await self._post("/work_pools/filter", {"limit": MAX_POOLS}))
        names = [as_text(pool.get("name")) for pool in _objects(pools)]
        paths = [f"/work_pools/{quote(name, safe='')}/workers/filter" for name in names if name]
        answers = await asyncio.gather(*(self._post(path, {}) for path in paths))
        found = [
            _read_worker(worker, name)
            for name, answer in zip(filter(None, names), answers, strict=True)
            for worker in _objects(_read(answer))
        ]
        return sorted(found, key=lambda worker: (worker.pool, worker.name))

    async def _get(self, path: str) -> object:
        return _read(await self._retries.send(lambda: self._send("GET", path)))

    async def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send what changes something, or looks as if it did; ask for a token if one is wanted."""
        content, used = orjson.dumps(body), self._token
        answer = await self._retries.send(lambda: self._send("POST", path, content))
        if answer.status == HTTPStatus.FORBIDDEN and await self._renew_token(used):
            answer = await self._retries.send(lambda: self._send("POST", path, content))
        return answer

    async def _renew_token(self, used: str | None) -> bool:
        """Ask for a token against forged requests; return whether there is another one now.

        Each that the server gives makes the one before it no good.
        """
        async with self._renewing:
            return self._token != used or await self._ask_for_token()

    async def _ask_for_token(self) -> bool:
        answer = await self._send("GET", f"/csrf-token?client={self._client_id}")
        if not answer.is_success:
            return False
        self._token = as_text(as_object(_read(answer)).get("token"))
        return bool(self._token)

    async def _send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        headers = {"Prefect-Csrf-Client": self._client_id, "Prefect-Csrf-Token": self._token or ""}
        answer = await self._http.exchange(
            method,
            URL(f"{self._base_url}{path}", encoded=True),
            body=body,
            headers=headers if self._token else None,
            secrets=self._secrets,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise answer.to_error()
        return answer


def _read(answer: Answer) -> object:
    if not answer.is_success:
        raise answer.to_error()
    return answer.read(load_json)


def _objects(value: object) -> list[dict[str, Any]]:
    values = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", entry) for entry in values if isinstance(entry, dict)]


def _id_of(value: Mapping[str, Any]) -> str:
    """Return the id that the server gave something; a `UUID`, so that it is safe in a path."""
    try:
        return str(uuid.UUID(as_text(value.get("id"))))
    except ValueError:
        raise Misconfigured(ADDRESS, "does not answer as a Prefect server does") from None


def _read_worker(worker: Mapping[str, Any], pool: str) -> Worker:
    try:
        seen_at = datetime.fromisoformat(as_text(worker.get("last_heartbeat_time")))
        seen_at = seen_at.replace(tzinfo=UTC) if seen_at.tzinfo is None else seen_at.astimezone(UTC)
    except ValueError:
        seen_at = None
    is_online = worker.get("status") == _ONLINE
    return Worker(as_text(worker.get("name")), pool, is_online, seen_at)
