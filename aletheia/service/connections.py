"""Connections of strangers and of clients that do not read, held within bounds.

uvicorn by itself waits for ever for the headers of a request and for a client that reads nothing,
and counts open sockets as requests. Here

- a request's headers, and the body of a caller that nobody has let in, or the rest of one that
  nobody reads, have to arrive within a while;
- of one address only so many connections may be without a complete request, or one of a caller who
  was let in: when another one comes, those that have waited longest are closed, so that a new
  caller from there is heard; one that has only just come is left its moment, since proxies and
  clients that come back after a restart open many at once;
- a client that reads nothing for a while is told so behind what it was sent, and closed; the
  connection is cut if it does not take even that.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from aletheia.service.refusals import describe_no_http

MAX_WAITING_PER_ADDRESS: Final = 64
"""Connections of one address without a complete request, or one of a caller who was let in."""

SETTLED_AFTER_S: Final = 1.0
"""So young a connection is not cut for others of its address: a proxy, or clients that all come
back after a restart, open hundreds in one moment, and their requests are still to be read."""

MAX_AT_ONCE_PER_ADDRESS: Final = 1024
"""Waiting connections of one address, however young; beyond it the oldest is cut at once."""

MAX_CONNECTIONS: Final = 4096
"""Connections in all; a further one is cut at once."""

HEADERS_WITHIN_S: Final = 10.0
"""From the beginning of a connection, or of a request, to the end of its headers, and to the end
of its body where nobody has let the caller in by then."""

STALLED_AFTER_S: Final = 15.0
"""For so long a client may read nothing while something waits for it."""

CLOSE_WITHIN_S: Final = 5.0
"""From the end of a connection on our side to its being cut."""

TOO_SLOW: Final = 4408
"""Close code of a WebSocket whose client does not read."""

MAX_MESSAGE_BYTES: Final = 4096
"""Longest message that a client of a WebSocket may send: a ticket takes a hundred."""

GRACE_S: Final = 20
"""How long requests under way may take once the service is to end, seconds."""

FAREWELL: Final = "farewell"
"""Name in a request's state: what is sent to a client that does not read, as the last of a body."""

ADMITTED: Final = "is_admitted"
"""Name in a request's state: whether its caller was let in, so that its body may take longer."""


class Strangers:
    """The connections of each address that wait for a request of a stranger, oldest first."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, OrderedDict[BoundedHttp, float]] = defaultdict(OrderedDict)

    def add(self, connection: "BoundedHttp", address: str) -> None:
        """Note that a connection waits; cut the oldest of its address if there are too many."""
        waiting = self._waiting[address]
        waiting[connection] = time.monotonic()
        while len(waiting) > MAX_WAITING_PER_ADDRESS and self._may_cut(waiting):
            next(iter(waiting)).end_waiting()

    def remove(self, connection: "BoundedHttp", address: str) -> None:
        """Note that a connection does not wait any more. Idempotent."""
        waiting = self._waiting.get(address)
        if waiting is None:
            return
        waiting.pop(connection, None)
        if not waiting:
            del self._waiting[address]

    def _may_cut(self, waiting: "OrderedDict[BoundedHttp, float]") -> bool:
        """Return whether the oldest has had its time, or there are too many however young."""
        since = next(iter(waiting.values()))
        is_settled = time.monotonic() - since >= SETTLED_AFTER_S
        return is_settled or len(waiting) > MAX_AT_ONCE_PER_ADDRESS


class BoundedHttp(H11Protocol):
    """uvicorn's protocol for HTTP, within the bounds of this module."""

    strangers = Strangers()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._is_cut = False
        self._is_handed_over = False

    @property
    def address(self) -> str:
        """The address of the other side."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self.cut()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        if self._is_cut:
            return
        super().data_received(data)
        if self._is_waiting() and not self.transport.is_closing():
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        self._stop_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as it is sent."""
        super().pause_writing()
        self._stall = self.loop.call_later(STALLED_AFTER_S, self._end_stalled)

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        self._stop_stall()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over to the protocol of WebSockets, which has bounds of its own."""
        super().handle_websocket_upgrade(event)
        self._is_handed_over = True

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has too long a head, in the form of all refusals."""
        del msg
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        answer = h11.Response(status_code=HTTPStatus.BAD_REQUEST, headers=headers)
        for event in (answer, h11.Data(data=describe_no_http()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def shutdown(self) -> None:
        """End the connection; a stream of events would go on for ever."""
        super().shutdown()
        if self._farewell() is not None:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection."""
        self._stop_waiting()
        super().timeout_keep_alive_handler()

    def end_waiting(self) -> None:
        """Cut the connection if it still waits."""
        if self._is_waiting():
            self.cut()
        else:
            self._stop_waiting()

    def cut(self) -> None:
        """Cut the connection, without a word."""
        self._is_cut = True
        self._stop_waiting()
        self.transport.abort()

    def _is_waiting(self) -> bool:
        """Return whether the other side has something to send that nobody waits for."""
        if self._is_handed_over:
            return False
        state = self.conn.their_state
        cycle = self._cycle()
        is_body_wanted = (
            cycle is not None
            and not cycle.response_complete
            and (cycle.scope.get("state") or {}).get(ADMITTED, False)
        )
        return state is h11.IDLE or (state is h11.SEND_BODY and not is_body_wanted)

    def _cycle(self) -> RequestResponseCycle | None:
        """Return the request under way, or the last one; `None` before the first."""
        return self.cycle

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADERS_WITHIN_S, self.end_waiting)
            self.strangers.add(self, self.address)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self.strangers.remove(self, self.address)

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _farewell(self) -> bytes | None:
        """Return what a stream under way is ended with; `None` if no stream is under way."""
        cycle = self._cycle()
        if cycle is None or cycle.response_complete:
            return None
        state: dict[str, Any] = cycle.scope.get("state") or {}
        return state.get(FAREWELL)

    def _end_stalled(self) -> None:
        """Close the connection of a client that reads nothing, and cut it soon after."""
        self._stall = self.loop.call_later(CLOSE_WITHIN_S, self.cut)
        farewell = self._farewell()
        if farewell is not None and self.conn.our_state is h11.SEND_BODY:
            self.transport.write(self.conn.send(h11.Data(data=farewell)) or b"")
            self.transport.write(self.conn.send(h11.EndOfMessage()) or b"")
        if (cycle := self._cycle()) is not None:
            # What the application still sends is dropped, and it hears that nobody listens.
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol for WebSockets, within the bounds of this module."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stall: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        for timer in (self._stall, self._end):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as it is sent."""
        super().pause_writing()
        self._stall = self.loop.call_later(STALLED_AFTER_S, self._end_stalled)

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    async def send(self, message: Any) -> None:
        """Send a message; the last one does not wait for a client that reads nothing."""
        if message["type"] == "websocket.close":
            self.writable.set()
            self._cut_later()
        await super().send(message)

    def shutdown(self) -> None:
        """Close the connection, as the service ends."""
        super().shutdown()
        self._cut_later()

    def _end_stalled(self) -> None:
        """Close the connection of a client that reads nothing, and cut it soon after."""
        self._stall = None
        self._cut_later()
        if self.close_sent or not self.handshake_complete:
            return
        reason = "you do not read what you are sent"
        self.queue.put_nowait({"type": "websocket.disconnect", "code": TOO_SLOW, "reason": reason})
        self.conn.send_close(TOO_SLOW, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()

    def _cut_later(self) -> None:
        if self._end is None:
            self._end = self.loop.call_later(CLOSE_WITHIN_S, self.transport.abort)


def bounded_protocol() -> type[BoundedHttp]:
    """Build the protocol of one server, which has strangers of its own."""
    return type("Bounded", (BoundedHttp,), {"strangers": Strangers()})


def configure(application: Callable[..., Any], host: str, port: int) -> uvicorn.Config:
    """Return how the service is served: within these bounds, and without a log of requests."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        http=bounded_protocol(),
        ws=BoundedWebSocket,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
