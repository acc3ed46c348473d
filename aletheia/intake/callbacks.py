"""Callbacks: reports of pushed tasks, sent so that no receiver keeps others waiting (SPEC §1)."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlsplit

import orjson

from aletheia.errors import AletheiaError, InvalidTask, Refused, Unavailable
from aletheia.events.ports import WEBHOOK
from aletheia.intake.models import Claim
from aletheia.intake.ports import Callbacks

GIVE_UP_S: Final = 86_400.0
"""How long a callback is tried, seconds (SPEC §4, Webhook)."""

MAX_SENDING: Final = 32
MAX_SENDING_TO_ONE: Final = 4
"""Callbacks that are sent at once, in all and to one receiver."""

PAUSE_S: Final = 30.0
"""For how long a receiver that was out of reach is sent nothing, seconds."""


MAX_QUEUED_S: Final = 30.0
"""How long a callback waits for its turn, seconds, before it is put off: a batch ends with them."""


class CallbackSender:
    """Sends the reports of pushed tasks by `callbacks`.

    A receiver that hangs costs one time limit of a request, and not one for each of its tasks:
    while one is out of reach, its other callbacks fail at once with the same error. What would wait
    long behind others, as their receiver is slow, is put off, too.
    """

    def __init__(self, callbacks: Callbacks | None, steady_s: Callable[[], float]) -> None:
        self._callbacks, self._steady_s = callbacks, steady_s
        self._all = asyncio.Semaphore(MAX_SENDING)
        self._of_one: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_SENDING_TO_ONE)
        )
        self._out_of_reach: dict[str, tuple[float, Unavailable]] = {}

    async def send(self, claim: Claim) -> None:
        """Send the kept report of a pushed task to where its sender wants it, if anywhere.

        Raises:
            Refused, InvalidTask: it will never be taken.
            AletheiaError: anything else; it is to be tried again.
        """
        address, body = claim.entry.callback_url, claim.body
        assert body is not None
        if address is None:
            return
        if self._callbacks is None:
            raise InvalidTask("invalid_callback_url", "nothing sends callbacks here")
        receiver, queued_at_s = _name_receiver(address), self._steady_s()
        async with self._of_one[receiver], self._all:
            until_s, outage = self._out_of_reach.get(receiver, (0.0, None))
            if outage is not None and self._steady_s() < until_s:
                raise type(outage)(outage.dependency, outage.reason)
            if self._steady_s() - queued_at_s > MAX_QUEUED_S:
                raise Unavailable(WEBHOOK, "callbacks before it took too long")
            try:
                await self._callbacks.post(
                    address, _make_body(claim, body), _name_event(claim, body)
                )
            except Unavailable as problem:
                if problem.status is None:
                    self._out_of_reach[receiver] = (self._steady_s() + PAUSE_S, problem)
                raise
            self._out_of_reach.pop(receiver, None)


def gives_up(claim: Claim, answer: AletheiaError, now_s: float) -> str | None:
    """Return the code with which a callback is given up for good; `None` while it is tried on."""
    if isinstance(answer, Refused | InvalidTask):
        return "callback_refused"
    kept_at = now_s if claim.kept_at is None else claim.kept_at
    return "callback_failed" if now_s - kept_at >= GIVE_UP_S else None


def _make_body(claim: Claim, report: bytes) -> bytes:
    return b'{"id":' + orjson.dumps(claim.entry.id) + b"," + report[1:]


def _name_event(claim: Claim, report: bytes) -> str:
    """Name a callback so that a copy is known as one, and the report of a replay is not."""
    return f"task:{quote(claim.entry.id, safe='')}:{hashlib.sha256(report).hexdigest()[:16]}"


def _name_receiver(address: str) -> str:
    try:
        return urlsplit(address).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""  # no address, as its sending will say
