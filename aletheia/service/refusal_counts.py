"""How often callers were refused, and why; no token is counted or logged (SPEC §6)."""

import logging
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from starlette.requests import HTTPConnection

from aletheia.documents import Change, Documents, Update
from aletheia.service.refusals import ServiceError

log = logging.getLogger(__name__)

REFUSALS: Final = "aletheia_service_refusals"

MAX_SHOWN: Final = 200
"""Characters of a path that are logged."""


class RefusalCounts:
    """Counts refusals by their code, in this process until `save`."""

    def __init__(self) -> None:
        self._unsaved: Counter[str] = Counter()

    @property
    def unsaved(self) -> Mapping[str, int]:
        """What was counted since it was saved last."""
        return self._unsaved

    @contextmanager
    def counting(self, connection: HTTPConnection) -> Generator[None]:
        """Count and log a `ServiceError` that leaves the block."""
        try:
            yield
        except ServiceError as refusal:
            self.note(refusal.code, connection)
            raise

    def note(self, code: str, connection: HTTPConnection) -> None:
        """Count and log that a caller was refused; nothing of its headers or query is shown."""
        self._unsaved[code] += 1
        host = connection.client.host if connection.client else "?"
        # Quoted, since a path may hold line ends.
        log.info("refused %s from %s: %s", repr(connection.url.path[:MAX_SHOWN]), host, code)

    async def save(self, documents: Documents) -> None:
        """Add what was counted to the store's counters; what cannot be saved is kept for later.

        Strangers must not make us write, so this is done now and then rather than each time.
        """
        counted, self._unsaved = self._unsaved, Counter()
        updates = [
            Update(code, Change(set={"code": code}, increase={"count": count}))
            for code, count in counted.items()
        ]
        if not updates:
            return
        try:
            await documents.upsert(REFUSALS, updates)
        except BaseException:
            self._unsaved.update(counted)
            raise
