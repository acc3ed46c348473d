"""How often callers were let in or refused, and why; no token is counted or logged (SPEC §6)."""

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import HTTPConnection

from aletheia.documents import Change, Documents, Update
from aletheia.metrics import AUTHENTICATIONS
from aletheia.service.refusals import ServiceError
from aletheia.service.slowing import Slowdown

log = logging.getLogger(__name__)

REFUSALS: Final = "aletheia_service_refusals"

MAX_SHOWN: Final = 200
"""Characters of a path that are logged."""

INVALID: Final = "invalid"
"""The outcome of who sent a key, a token or a signature that is not good."""

_OUTCOMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("missing_token", "missing_key", "missing_signature"), "missing"),
    **dict.fromkeys(("forbidden", "origin_not_allowed"), "forbidden"),
}
"""What a code is counted as in the metric; every other one that is not ours is `invalid`."""

_OURS: Final = frozenset(
    {
        *("no_authentication_configured", "keys_unavailable", "no_key_configured"),
        "no_hook_secret_configured",
    }
)
"""Codes of what the service itself lacks."""


class RefusalCounts:
    """Counts callers that were let in, and refusals by their code, in this process until `save`."""

    def __init__(self, slowdown: Slowdown | None = None) -> None:
        self._slowdown = slowdown or Slowdown()
        self._unsaved: Counter[str] = Counter()
        self._admitted = 0

    @property
    def unsaved(self) -> Mapping[str, int]:
        """The refusals since they were saved last."""
        return self._unsaved

    @property
    def is_saved(self) -> bool:
        """Whether there is nothing to save."""
        return not self._unsaved and not self._admitted

    @asynccontextmanager
    async def counting(self, connection: HTTPConnection) -> AsyncGenerator[None]:
        """Count who comes through the block; count and log a `ServiceError` that leaves it.

        Who sends wrong keys or tokens again and again waits for it.
        """
        try:
            yield
        except ServiceError as refusal:
            self.note(refusal.code, connection)
            if _outcome_of(refusal.code) == INVALID:
                await self._slowdown.pause(_host_of(connection))
            raise
        self._admitted += 1

    def note(self, code: str, connection: HTTPConnection) -> None:
        """Count and log that a caller was refused; nothing of its headers or query is shown."""
        self._unsaved[code] += 1
        # Quoted, since a path may hold line ends.
        path, host = repr(connection.url.path[:MAX_SHOWN]), _host_of(connection)
        log.info("refused %s from %s: %s", path, host, code)

    async def save(self, documents: Documents) -> None:
        """Add what was counted to the store's counters; what cannot be saved is kept for later.

        Strangers must not make us write, so this is done now and then rather than each time.
        """
        refused, self._unsaved = self._unsaved, Counter()
        admitted, self._admitted = self._admitted, 0
        updates = [
            Update(
                code,
                Change(set={"code": code}, increase={"count": count}),
                counts=AUTHENTICATIONS.add(_outcome_of(code), by=count),
            )
            for code, count in refused.items()
        ]
        if admitted:
            # It goes along with what is written next, so that reading makes no writes.
            documents.note(AUTHENTICATIONS.add("succeeded", by=admitted))
        if not updates:
            return
        try:
            await documents.upsert(REFUSALS, updates)
        except BaseException:
            self._unsaved.update(refused)
            raise


def _host_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "?"


def _outcome_of(code: str) -> str:
    return "unavailable" if code in _OURS else _OUTCOMES.get(code, INVALID)
