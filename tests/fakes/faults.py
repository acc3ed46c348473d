"""Faults that a fake HTTP server shows on demand."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from aiohttp import hdrs, web

Misbehaviour: TypeAlias = Literal[
    "hangs_up",
    "is_not_http",
    "loses_its_answer",
    "cuts_its_body",
    "stalls",
    "drips",
    "never_ends",
]
"""What a server may do instead of answering.

`hangs_up` before it has done anything; `loses_its_answer` after it has done what was asked;
`cuts_its_body` halfway; `stalls` after the headers; `drips` a blank now and then; `never_ends`
sending blanks as fast as they are taken.
"""


@dataclass(slots=True)
class _Fault:
    endpoint: str | None
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    misbehaviour: Misbehaviour | None = None


class Faults:
    """A queue of faults; each is shown once, to the next request it is meant for."""

    def __init__(self) -> None:
        self._queue: list[_Fault] = []

    def fail_next(
        self,
        *statuses: int,
        on: str | None = None,
        retry_after: str | float | None = None,
        body: bytes = b'{"message": "made to fail"}',
    ) -> None:
        """Answer the next requests (to the endpoint `on`) with these statuses."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._queue += [_Fault(on, status, body, headers) for status in statuses]

    def answer_next(
        self,
        body: bytes,
        *,
        status: int = 200,
        on: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer the next request (to the endpoint `on`) with exactly this."""
        self._queue.append(_Fault(on, status, body, headers or {}))

    def misbehave_next(self, *misbehaviours: Misbehaviour, on: str | None = None) -> None:
        """Do these instead of answering the next requests (to the endpoint `on`)."""
        self._queue += [_Fault(on, misbehaviour=kind) for kind in misbehaviours]

    def forget_faults(self) -> None:
        """Show none of the faults that are left."""
        self._queue.clear()

    async def show_or(
        self,
        request: web.BaseRequest,
        endpoint: str,
        respond: Callable[[], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Show the next fault meant for `endpoint`, or respond."""
        for fault in self._queue:
            if fault.endpoint in (None, endpoint):
                self._queue.remove(fault)
                return await _show(fault, request, respond)
        return await respond()


async def _show(
    fault: _Fault,
    request: web.BaseRequest,
    respond: Callable[[], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    match fault.misbehaviour:
        case None:
            headers = {hdrs.CONTENT_TYPE: "application/json", **fault.headers}
            return web.Response(status=fault.status, body=fault.body, headers=headers)
        case "hangs_up" | "loses_its_answer":
            if fault.misbehaviour == "loses_its_answer":
                await respond()
            transport.abort()
            raise asyncio.CancelledError
        case "is_not_http":
            transport.write(b"220 mail.example.com ESMTP\r\n\r\n")
            transport.close()
            raise asyncio.CancelledError
        case "cuts_its_body" | "stalls" | "drips" | "never_ends":
            response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
            if fault.misbehaviour == "cuts_its_body":
                response.content_length = 1000
            await response.prepare(request)
            await response.write(b'{"data": [')
            if fault.misbehaviour == "stalls":
                await asyncio.Event().wait()
            while fault.misbehaviour == "drips":
                await response.write(b" ")
                await asyncio.sleep(0.01)
            while fault.misbehaviour == "never_ends":
                await response.write(b" " * 2**16)
            transport.close()
            raise asyncio.CancelledError
