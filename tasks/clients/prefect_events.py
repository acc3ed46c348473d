"""Our events as events of Prefect, for its automations (SPEC §4, Events; SPEC §7)."""

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import httpx
import orjson
from prefect.client.orchestration import PrefectClient, get_client
from prefect.runtime import flow_run

from aletheia.adapters.http_answers import ErrorKind, excerpt, make_error
from aletheia.errors import Refused, Unavailable, Unreachable
from aletheia.events.log import SavedEvent
from aletheia.system_events import SystemEvent

PREFECT: Final = "prefect"
"""Its name in errors, and its kind as a receiver of events."""

_EXCEPTIONS: Final[Mapping[int, ErrorKind]] = {
    HTTPStatus.UNAUTHORIZED: Unavailable,
    HTTPStatus.FORBIDDEN: Unavailable,
    HTTPStatus.NOT_FOUND: Refused,
    HTTPStatus.CONFLICT: Refused,
}
"""What differs from `STATUSES` here: a refused sign-in is not about the events and may pass."""

_IDS: Final = uuid.uuid5(uuid.NAMESPACE_URL, "aletheia.gather")


class PrefectEvents:
    """Sends events to Prefect's server, which accepts each of them once.

    Not by `emit_event`, which hands events to a thread and never reports what became of them. The
    first event opens the connection, so that a run can begin without it.
    """

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._client: PrefectClient | None = None

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        self._client = None
        await self._stack.aclose()

    async def send(self, address: str, event: SavedEvent) -> None:
        """Send one event; see `EventSink`."""
        await self.send_all(address, [event])

    async def send_all(self, address: str, events: Sequence[SavedEvent]) -> None:
        """Send some events in one request; see `send`."""
        del address
        await self._post([describe_event(event) for event in events])

    async def announce(self, events: Sequence[SystemEvent]) -> None:
        """Send events about the system; see `SystemEventSink`."""
        await self._post([describe_system_event(event) for event in events])

    async def _post(self, body: Sequence[Mapping[str, Any]]) -> None:
        try:
            if self._client is None:
                self._client = await self._stack.enter_async_context(get_client())
            await self._client.request("POST", "/events", json=list(body))
        except httpx.HTTPStatusError as error:
            answer, said = error.response, excerpt(error.response.text)
            raise make_error(PREFECT, answer.status_code, said, exceptions=_EXCEPTIONS) from None
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            is_away = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            kind = Unreachable if is_away else Unavailable
            raise kind(PREFECT, f"{type(error).__name__}: {error}"[:200]) from None


def describe_event(event: SavedEvent) -> dict[str, Any]:
    """Return an event in the form of Prefect's API; its id depends only on the event."""
    said: dict[str, Any] = orjson.loads(event.body)
    return {
        "id": str(uuid.uuid5(_IDS, event.id)),
        "event": f"aletheia.gather.{said['type']}",
        "occurred": event.at.isoformat(),
        "resource": {
            "prefect.resource.id": f"aletheia.project.{event.project_id}",
            "prefect.resource.name": event.project_id,
        },
        "related": [
            {
                "prefect.resource.id": f"prefect.flow-run.{event.run_id}",
                "prefect.resource.role": "flow-run",
            }
        ],
        "payload": said,
    }


def describe_system_event(event: SystemEvent) -> dict[str, Any]:
    """Return an event about the system in that form; in a run, it is related to the run."""
    # A database of the server may take no text with a NUL in it.
    subject = "".join(c if c.isprintable() else "?" for c in event.subject)
    run_id = flow_run.id
    related = {"prefect.resource.id": f"prefect.flow-run.{run_id}"}
    return {
        "id": str(uuid.uuid5(_IDS, event.id)),
        "event": f"aletheia.{event.name}",
        "occurred": event.at.isoformat(),
        "resource": {
            "prefect.resource.id": f"aletheia.{subject}",
            "prefect.resource.name": subject.partition(".")[2] or subject,
        },
        "related": [{**related, "prefect.resource.role": "flow-run"}] if run_id else [],
        "payload": dict(event.payload),
    }
