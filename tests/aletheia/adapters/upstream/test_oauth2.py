import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.oauth2 import OAuth2SignIn, ory_token_url
from aletheia.errors import BadAnswer, Misconfigured, Unauthorized, Unavailable
from tests.fakes.faults import Misbehaviour
from tests.fakes.oauth2 import FakeTokenEndpoint, serve_fake_token_endpoint
from tests.fakes.upstream import FakeUpstream, serve_fake_upstream

PROCESSING = b'{"state":"processing"}'


class Clock:
    """A clock that moves when it is set, seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def endpoint() -> AsyncGenerator[FakeTokenEndpoint]:
    async with serve_fake_token_endpoint() as fake:
        yield fake


@pytest.fixture
async def upstream() -> AsyncGenerator[FakeUpstream]:
    async with serve_fake_upstream() as fake:
        yield fake


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sign_in_to(endpoint: FakeTokenEndpoint, **options: Any) -> OAuth2SignIn:
    defaults: dict[str, Any] = {
        "client_id": endpoint.client_id,
        "client_secret": endpoint.client_secret,
        "timeout_s": 5,
    }
    return OAuth2SignIn(endpoint.url, **{**defaults, **options})


async def test_a_token_is_fetched_once_and_kept(endpoint: FakeTokenEndpoint) -> None:
    sign_in = sign_in_to(endpoint)
    assert [await sign_in.header() for _ in range(3)] == ["Bearer token-1"] * 3
    assert endpoint.forms == [{"grant_type": "client_credentials"}]


async def test_scope_and_audience_are_asked_for(endpoint: FakeTokenEndpoint) -> None:
    endpoint.scope, endpoint.audience = "tasks:read tasks:write", "https://api.example.com"
    sign_in = sign_in_to(endpoint, scope=endpoint.scope, audience=endpoint.audience)
    assert await sign_in.header() == "Bearer token-1"
    with pytest.raises(Unauthorized, match="invalid_scope"):
        await sign_in_to(endpoint).header()


@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
async def test_the_secret_is_shown_in_the_way_that_was_chosen(
    endpoint: FakeTokenEndpoint, client_auth: str
) -> None:
    endpoint.client_auth = client_auth
    endpoint.client_id, endpoint.client_secret = "me & my:self", "100% s3cr+t/ü:="
    assert await sign_in_to(endpoint, client_auth=client_auth).header() == "Bearer token-1"


@pytest.mark.parametrize(
    ("lifetime_s", "kept_s"),
    [(3600, 3539), (600, 539), (100, 89), (10, 8.9), ("3600", 3539), (3600.5, 3539.4)],
)
async def test_a_token_is_replaced_before_it_expires(
    endpoint: FakeTokenEndpoint, clock: Clock, lifetime_s: Any, kept_s: float
) -> None:
    endpoint.lifetime_s = lifetime_s
    sign_in = sign_in_to(endpoint, clock=clock)
    await sign_in.header()
    clock.now += kept_s
    assert await sign_in.header() == "Bearer token-1"
    clock.now += 1.2
    assert await sign_in.header() == "Bearer token-2"


async def test_a_token_without_a_lifetime_is_kept_until_it_is_refused(
    endpoint: FakeTokenEndpoint, clock: Clock
) -> None:
    endpoint.lifetime_s = None
    sign_in = sign_in_to(endpoint, clock=clock)
    await sign_in.header()
    clock.now += 1e9
    assert await sign_in.header() == "Bearer token-1"
    assert await sign_in.refresh("Bearer token-1") == "Bearer token-2"


@pytest.mark.parametrize(
    "lifetime",
    ["null", '""', "[]", "{}", "0", "-1", '"0"', "0.0", '" -5 "', "-0.5", '"0.00"', "false"],
)
async def test_an_empty_lifetime_is_none(
    endpoint: FakeTokenEndpoint, clock: Clock, lifetime: str
) -> None:
    endpoint.answer_next(f'{{"access_token": "t", "expires_in": {lifetime}}}'.encode())
    sign_in = sign_in_to(endpoint, clock=clock)
    await sign_in.header()
    clock.now += 1e9
    assert await sign_in.header() == "Bearer t"


async def test_a_lifetime_beyond_all_numbers_does_no_harm(
    endpoint: FakeTokenEndpoint, clock: Clock
) -> None:
    endpoint.answer_next(b'{"access_token": "long", "expires_in": 1' + b"0" * 18 + b"}")
    sign_in = sign_in_to(endpoint, clock=clock)
    await sign_in.header()
    clock.now += 9 * 365 * 86_400
    assert await sign_in.header() == "Bearer long"


async def test_many_callers_make_one_request(endpoint: FakeTokenEndpoint) -> None:
    endpoint.delay_s = 0.02
    sign_in = sign_in_to(endpoint)
    headers = await asyncio.gather(*(sign_in.header() for _ in range(20)))
    assert set(headers) == {"Bearer token-1"}
    assert len(endpoint.forms) == 1
    headers = await asyncio.gather(*(sign_in.refresh("Bearer token-1") for _ in range(20)))
    assert set(headers) == {"Bearer token-2"}
    assert len(endpoint.forms) == 2


async def test_many_callers_share_one_failure(endpoint: FakeTokenEndpoint) -> None:
    endpoint.delay_s = 0.02
    endpoint.fail_next(503)
    sign_in = sign_in_to(endpoint)
    results = await asyncio.gather(*(sign_in.header() for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 5
    assert len(endpoint.forms) == 1
    assert await sign_in.header() == "Bearer token-1"


async def test_a_token_refreshed_meanwhile_is_not_refreshed_again(
    endpoint: FakeTokenEndpoint,
) -> None:
    sign_in = sign_in_to(endpoint)
    await sign_in.header()
    assert await sign_in.refresh("Bearer token-1") == "Bearer token-2"
    assert await sign_in.refresh("Bearer token-1") == "Bearer token-2"
    assert endpoint.issued == ["token-1", "token-2"]


async def test_a_caller_that_is_cancelled_does_not_take_the_others_token(
    endpoint: FakeTokenEndpoint,
) -> None:
    endpoint.delay_s = 0.05
    sign_in = sign_in_to(endpoint)
    first = asyncio.create_task(sign_in.header())
    second = asyncio.create_task(sign_in.header())
    await endpoint.arrivals.get()
    first.cancel()
    assert await second == "Bearer token-1"
    assert first.cancelled()
    assert len(endpoint.forms) == 1


async def test_a_token_still_valid_is_used_while_the_endpoint_is_down(
    endpoint: FakeTokenEndpoint, clock: Clock
) -> None:
    endpoint.lifetime_s = 600
    sign_in = sign_in_to(endpoint, clock=clock)
    await sign_in.header()
    endpoint.fail_next(503, 503, 503)
    clock.now += 560
    assert await sign_in.header() == "Bearer token-1"
    assert await sign_in.header() == "Bearer token-1"
    assert len(endpoint.forms) == 2
    clock.now += 21
    assert await sign_in.header() == "Bearer token-1"
    assert len(endpoint.forms) == 3
    clock.now += 20
    with pytest.raises(Unavailable):
        await sign_in.header()
    assert await sign_in.header() == "Bearer token-2"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_endpoint_that_is_down_is_unavailable(
    endpoint: FakeTokenEndpoint, status: int
) -> None:
    endpoint.fail_next(status, retry_after=7)
    with pytest.raises(Unavailable) as caught:
        await sign_in_to(endpoint).header()
    assert not isinstance(caught.value, BadAnswer)
    assert (caught.value.dependency, caught.value.status) == ("sign-in", status)
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("fault", ["hangs_up", "cuts_its_body", "stalls", "drips", "is_not_http"])
async def test_an_endpoint_that_breaks_off_is_unavailable(
    endpoint: FakeTokenEndpoint, fault: Misbehaviour
) -> None:
    endpoint.misbehave_next(fault)
    with pytest.raises(Unavailable) as caught:
        await sign_in_to(endpoint, timeout_s=0.3).header()
    assert caught.value.dependency == "sign-in"


async def test_nobody_listening_is_unavailable() -> None:
    async with serve_fake_token_endpoint() as gone:
        sign_in = sign_in_to(gone)
    with pytest.raises(Unavailable, match="Cannot connect"):
        await sign_in.header()


async def test_an_answer_that_never_ends_is_a_bad_answer(endpoint: FakeTokenEndpoint) -> None:
    endpoint.misbehave_next("never_ends")
    with pytest.raises(BadAnswer, match="longer than"):
        await sign_in_to(endpoint).header()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
async def test_an_endpoint_that_refuses_is_unauthorized_whatever_its_status(
    endpoint: FakeTokenEndpoint, status: int
) -> None:
    endpoint.fail_next(status, body=b'{"error": "invalid_client"}')
    with pytest.raises(Unauthorized, match="invalid_client") as caught:
        await sign_in_to(endpoint).header()
    assert (caught.value.dependency, caught.value.status) == ("sign-in", status)


async def test_a_wrong_secret_is_unauthorized(endpoint: FakeTokenEndpoint) -> None:
    with pytest.raises(Unauthorized, match="invalid_client"):
        await sign_in_to(endpoint, client_secret="wrong").header()


async def test_a_refusal_with_200_is_unauthorized(endpoint: FakeTokenEndpoint) -> None:
    endpoint.answer_next(b'{"error": "invalid_client"}')
    with pytest.raises(Unauthorized, match="invalid_client"):
        await sign_in_to(endpoint).header()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b'"token"',
        b"{}",
        b'{"access_token": null}',
        b'{"access_token": ""}',
        b'{"access_token": 7}',
        b'{"access_token": "two words"}',
        b'{"access_token": "line\\nbreak"}',
        b'{"access_token": "t", "token_type": "mac"}',
        b'{"access_token": "t", "token_type": 7}',
        b'{"access_token": "t", "expires_in": "soon"}',
        b'{"access_token": "t", "expires_in": [1]}',
        b'{"access_token": "t", "expires_in": NaN}',
        b'{"access_token": "t", "expires_in": Infinity}',
        b"[" * 60_000,
        b"\xff\xfe",
    ],
)
async def test_a_malformed_answer_is_a_bad_answer(endpoint: FakeTokenEndpoint, body: bytes) -> None:
    endpoint.answer_next(body)
    with pytest.raises(BadAnswer) as caught:
        await sign_in_to(endpoint).header()
    assert caught.value.dependency == "sign-in"
    assert "access_token" not in str(caught.value)


@pytest.mark.parametrize(
    "token_type", ["null", '""', '" "', '"Bearer"', '"bearer "', '"BearerToken"']
)
async def test_a_type_of_token_may_be_missing_or_spelt_otherwise(
    endpoint: FakeTokenEndpoint, token_type: str
) -> None:
    endpoint.answer_next(f'{{"access_token": "t", "token_type": {token_type}}}'.encode())
    assert await sign_in_to(endpoint).header() == "Bearer t"


async def test_the_hint_of_a_refusal_is_shown_whole(endpoint: FakeTokenEndpoint) -> None:
    hint = "You must configure the client's authentication method. " * 8
    said = {"error": "invalid_client", "error_description": "It failed.", "error_hint": hint}
    endpoint.fail_next(401, body=json.dumps(said).encode())
    with pytest.raises(Unauthorized) as caught:
        await sign_in_to(endpoint).header()
    assert caught.value.reason == f"invalid_client: It failed.: {hint.strip()}"


async def test_an_answer_packed_wrongly_is_a_bad_answer(endpoint: FakeTokenEndpoint) -> None:
    endpoint.answer_next(b"this is no gzip", headers={"Content-Encoding": "gzip"})
    with pytest.raises(BadAnswer):
        await sign_in_to(endpoint).header()


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect_is_not_followed(endpoint: FakeTokenEndpoint, status: int) -> None:
    endpoint.answer_next(b"", status=status, headers={"Location": endpoint.url})
    with pytest.raises(BadAnswer):
        await sign_in_to(endpoint).header()
    assert len(endpoint.forms) == 1


async def test_what_the_endpoint_says_is_shown_without_the_secret(
    endpoint: FakeTokenEndpoint,
) -> None:
    sign_in = sign_in_to(endpoint, client_id="me", client_secret="hunter2+")
    pair = base64.b64encode(b"me:hunter2%2B").decode()
    for status in (400, 500, 200):
        body = {"error": f"no hunter2+ hunter2%2B {pair}"}
        endpoint.answer_next(json.dumps(body).encode(), status=status)
        with pytest.raises((Unauthorized, Unavailable)) as caught:
            await sign_in.header()
        assert "no *** *** ***" in str(caught.value)
        assert caught.value.__cause__ is None
    assert "hunter2" not in repr(sign_in)


@pytest.mark.parametrize(
    ("token_url", "client_id", "client_secret", "name"),
    [
        ("", "me", "hunter2", "OAUTH2_TOKEN_URL"),
        ("example.com/token", "me", "hunter2", "OAUTH2_TOKEN_URL"),
        ("http://[::1/token", "me", "hunter2", "OAUTH2_TOKEN_URL"),
        ("https://me:hunter2@example.com/token", "me", "hunter2", "OAUTH2_TOKEN_URL"),
        ("https://example.com/token", "", "hunter2", "OAUTH2_CLIENT_ID"),
        ("https://example.com/token", "me", "", "OAUTH2_CLIENT_SECRET"),
    ],
)
def test_what_cannot_work_is_misconfigured(
    token_url: str, client_id: str, client_secret: str, name: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        OAuth2SignIn(token_url, client_id, client_secret)
    assert caught.value.name == name
    assert "hunter2" not in str(caught.value)


def test_an_ory_project_has_its_token_url() -> None:
    url = ory_token_url("quirky-austin-3fgx8kq2lp")
    assert url == "https://quirky-austin-3fgx8kq2lp.projects.oryapis.com/oauth2/token"


@pytest.mark.parametrize("slug", ["", "evil.com/", "a.b", "-a", "a-", "Ä", "a\n", "a" * 64])
def test_what_is_no_ory_slug_is_misconfigured(slug: str) -> None:
    with pytest.raises(Misconfigured):
        ory_token_url(slug)


async def connect(upstream: FakeUpstream, sign_in: OAuth2SignIn, **options: Any) -> HttpUpstream:
    client = HttpUpstream(upstream.url, sign_in=sign_in, timeout_s=5, retry_base_s=0, **options)
    await client.open()
    return client


async def test_reports_go_on_with_a_fresh_token_after_a_401(
    endpoint: FakeTokenEndpoint, upstream: FakeUpstream
) -> None:
    client = await connect(upstream, sign_in_to(endpoint))
    for n in range(5):
        upstream.add(f"t{n}")
    upstream.tokens = {"token-2"}
    upstream.delay_s = 0.01
    await asyncio.gather(*(client.report(f"t{n}", PROCESSING) for n in range(5)))
    assert len(upstream.states) == 5
    assert endpoint.issued == ["token-1", "token-2"]
    await client.close()


async def test_a_token_refused_again_is_unauthorized_after_two_requests(
    endpoint: FakeTokenEndpoint, upstream: FakeUpstream
) -> None:
    client = await connect(upstream, sign_in_to(endpoint))
    upstream.tokens = set()
    with pytest.raises(Unauthorized) as caught:
        await client.pending(10)
    assert caught.value.dependency == "upstream"
    assert upstream.count("pending") == 2
    assert endpoint.issued == ["token-1", "token-2"]
    await client.close()


async def test_an_endpoint_that_is_down_is_retried_by_the_clients_policy(
    endpoint: FakeTokenEndpoint, upstream: FakeUpstream
) -> None:
    client = await connect(upstream, sign_in_to(endpoint), max_retries=2)
    endpoint.fail_next(503)
    endpoint.misbehave_next("hangs_up")
    assert await client.pending(10) == []
    assert len(endpoint.forms) == 3
    await client.close()


async def test_an_endpoint_that_stays_down_is_given_up_after_the_retries(
    endpoint: FakeTokenEndpoint, upstream: FakeUpstream
) -> None:
    client = await connect(upstream, sign_in_to(endpoint), max_retries=2)
    endpoint.fail_next(503, 503, 503, 503)
    with pytest.raises(Unavailable) as caught:
        await client.pending(10)
    assert caught.value.dependency == "sign-in"
    assert len(endpoint.forms) == 3
    assert upstream.requests == []
    await client.close()


async def test_an_endpoint_that_refuses_is_not_asked_again(
    endpoint: FakeTokenEndpoint, upstream: FakeUpstream
) -> None:
    client = await connect(upstream, sign_in_to(endpoint, client_secret="wrong"))
    with pytest.raises(Unauthorized) as caught:
        await client.report("t1", PROCESSING)
    assert caught.value.dependency == "sign-in"
    assert len(endpoint.forms) == 1
    await client.close()
