"""Who is signed in to the pages: kept in memory here, until the token expires.

A browser has the id of its session in a cookie; the token itself never leaves the process, and no
copy of the store or of the cookie's jar holds it. A restart ends all sessions.
"""

import asyncio
import hashlib
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from aletheia.service.roles import Caller
from aletheia.store.clock import SYSTEM_CLOCK, Clock

MAX_SESSIONS: Final = 2000
"""Sessions at once; a further one ends the one that would end first."""

MAX_SESSIONS_PER_CALLER: Final = 20

_ID_BYTES: Final = 32


@dataclass(eq=False)
class Session:
    """Somebody who is signed in."""

    caller: Caller
    token: str = field(repr=False)
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class Sessions:
    """The sessions of one service."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def open(self, caller: Caller, token: str) -> str:
        """Begin a session, and return its id: 256 random bits that no cookie had before."""
        self._end_surplus(caller)
        session_id = secrets.token_urlsafe(_ID_BYTES)
        self._sessions[_name(session_id)] = Session(caller, token)
        return session_id

    def find(self, session_id: str) -> Session | None:
        """Return a session; `None` where there is none of this id, or its token has expired."""
        session = self._sessions.get(_name(session_id))
        if session is not None and self.left_s(session) <= 0:
            self._end(_name(session_id))
            return None
        return session

    def close(self, session_id: str) -> None:
        """End a session. Idempotent."""
        self._end(_name(session_id))

    def left_s(self, session: Session) -> float:
        """Return how long a session lasts from now on, seconds."""
        return session.caller.expires_at - self._clock.unix_s()

    def _end_surplus(self, caller: Caller) -> None:
        for name, session in list(self._sessions.items()):
            if self.left_s(session) <= 0:
                self._end(name)
        subjects = Counter(session.caller.subject for session in self._sessions.values())
        if subjects[caller.subject] >= MAX_SESSIONS_PER_CALLER:
            self._end_first(caller.subject)
        elif len(self._sessions) >= MAX_SESSIONS:
            self._end_first(None)

    def _end_first(self, subject: str | None) -> None:
        """End the session that would end first, of one caller or of all."""
        names = [
            name
            for name, session in self._sessions.items()
            if subject in (None, session.caller.subject)
        ]
        self._end(min(names, key=lambda name: self._sessions[name].caller.expires_at))

    def _end(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is not None:
            session.ended.set()


def _name(session_id: str) -> str:
    """Return what a session is found by: how long the look-up takes tells nothing of the id."""
    return hashlib.sha256(session_id.encode(errors="replace")).hexdigest()
