import pytest
from starlette.requests import HTTPConnection

from aletheia.service.refusals import ServiceError
from aletheia.service.roles import Caller, Role
from aletheia.service.sockets import Sockets, check_origin, read_ticket

SOMEBODY = Caller("somebody", frozenset({Role.VIEWER}), 2e9)
ANOTHER = Caller("another", frozenset({Role.VIEWER}), 2e9)


def connection(origin: str | None, host: str = "here:8001") -> HTTPConnection:
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    return HTTPConnection({"type": "websocket", "path": "/", "headers": headers})


@pytest.mark.parametrize("origin", [None, "http://here:8001", "https://here:8001", "https://app"])
def test_programs_and_own_and_allowed_pages_may_call(origin: str | None):
    check_origin(connection(origin), {"https://app"})


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "here:8001",
        "http://here",
        "http://here:8002",
        "http://here:8001.evil.example",
        "http://evil.example/here:8001",
        "http://user@here:8001",
        "https://app.evil.example",
        "https://APP",
        "file://here:8001",
        "http://[",
    ],
)
def test_other_pages_may_not(origin: str):
    with pytest.raises(ServiceError) as refused:
        check_origin(connection(origin), {"https://app"})
    assert (refused.value.status_code, refused.value.code) == (403, "origin_not_allowed")


def test_a_caller_has_half_of_the_sockets_and_all_together_no_more_than_there_are():
    sockets = Sockets(4)
    with sockets.holding(SOMEBODY), sockets.holding(SOMEBODY):
        with pytest.raises(ServiceError):
            sockets.check(SOMEBODY)
        sockets.check(ANOTHER)
        with sockets.holding(ANOTHER), sockets.holding(ANOTHER), pytest.raises(ServiceError):
            sockets.check(Caller("a third", frozenset(), 2e9))
    sockets.check(SOMEBODY)


def test_a_socket_that_ends_with_an_error_is_not_counted_any_more():
    sockets = Sockets(2)
    with pytest.raises(RuntimeError), sockets.holding(SOMEBODY):
        raise RuntimeError
    sockets.check(SOMEBODY)


@pytest.mark.parametrize(
    ("text", "ticket"),
    [
        ('{"ticket": "abc"}', "abc"),
        ('{"ticket": "abc", "more": 1}', "abc"),
        ('{"ticket": 1}', None),
        ('{"token": "abc"}', None),
        ("[]", None),
        ("", None),
        ("[" * 4_000, None),
        ('{"ticket": "' + "a" * 5_000 + '"}', None),
        (None, None),
        (b'{"ticket": "abc"}', None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_ticket_is_read_from_a_message(text: object, ticket: str | None):
    assert read_ticket(text) == ticket
