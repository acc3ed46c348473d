"""Who is signed in."""

import pytest

from aletheia.service.pages import sessions as module
from aletheia.service.pages.sessions import Sessions
from aletheia.service.roles import Caller, Role
from tests.fakes.clock import MovableClock


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def sessions(clock: MovableClock) -> Sessions:
    return Sessions(clock=clock.both)


def caller(clock: MovableClock, subject: str = "anna", lasts_s: float = 600) -> Caller:
    return Caller(subject, frozenset({Role.VIEWER}), clock() + lasts_s)


def test_a_session_lasts_as_long_as_its_token(clock: MovableClock, sessions: Sessions):
    session_id = sessions.open(caller(clock), "a-token")
    found = sessions.find(session_id)
    assert found is not None
    assert (found.token, sessions.left_s(found)) == ("a-token", 600)
    clock.move(seconds=599.9)
    assert sessions.find(session_id) is found
    clock.move(seconds=0.2)
    assert sessions.find(session_id) is None
    assert found.ended.is_set()


def test_a_session_that_was_closed_is_gone(clock: MovableClock, sessions: Sessions):
    one, other = (sessions.open(caller(clock), "a-token") for _ in range(2))
    found = sessions.find(one)
    assert found is not None
    sessions.close(one)
    sessions.close(one)
    assert sessions.find(one) is None
    assert found.ended.is_set()
    assert sessions.find(other) is not None


@pytest.mark.parametrize("session_id", ["", "x", "\udcff", "a" * 100_000])
def test_a_made_up_id_is_nobodys(sessions: Sessions, session_id: str):
    assert sessions.find(session_id) is None


def test_one_caller_has_so_many_sessions(clock: MovableClock, sessions: Sessions):
    other = sessions.open(caller(clock, "bert"), "t")
    first, *rest = (
        sessions.open(caller(clock, lasts_s=100 + number), "t")
        for number in range(module.MAX_SESSIONS_PER_CALLER + 1)
    )
    assert sessions.find(first) is None
    assert all(sessions.find(session_id) is not None for session_id in [other, *rest])


def test_there_are_so_many_sessions(
    clock: MovableClock, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_SESSIONS", 3)
    opened = [sessions.open(caller(clock, f"user-{number}"), "t") for number in range(5)]
    assert sum(sessions.find(session_id) is not None for session_id in opened) == 3


def test_a_token_is_not_printed(clock: MovableClock, sessions: Sessions):
    found = sessions.find(sessions.open(caller(clock), "a-secret-token"))
    assert "a-secret-token" not in repr(found)
