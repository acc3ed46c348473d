"""The way in and the way out."""

import time
from collections.abc import AsyncGenerator

import httpx
import pytest

from aletheia.errors import Misconfigured
from aletheia.service.pages.sign_in import MAX_FORM_BYTES, read_token
from aletheia.service.parts import missing
from tests.fakes.service import FakeService, make_token, open_service

HTML = {"Accept": "text/html"}


@pytest.fixture
async def http(service: FakeService) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def sign_in(http: httpx.AsyncClient, token: str, **headers: str) -> httpx.Response:
    return await http.post("/ui/sign-in", data={"token": token}, headers=headers)


async def test_a_token_gets_a_cookie_that_scripts_cannot_read(http: httpx.AsyncClient):
    token = make_token("viewer", exp=int(time.time()) + 100)
    answer = await sign_in(http, token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/gather")
    cookie = answer.headers["set-cookie"]
    parts = {part.strip().partition("=")[0].lower() for part in cookie.split(";")}
    assert {"httponly", "samesite", "path", "max-age"} <= parts
    assert "secure" not in parts
    assert token not in cookie
    assert 90 <= int(cookie.lower().partition("max-age=")[2].partition(";")[0]) <= 100


async def test_over_https_the_cookie_is_for_https(service: FakeService):
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="https://test") as http:
        assert "Secure" in (await sign_in(http, make_token("viewer"))).headers["set-cookie"]


@pytest.mark.parametrize(
    ("token", "status", "said"),
    [
        ("", 401, "Paste a token first."),
        ("nonsense", 401, "This token is not valid here."),
        ("<script>alert(1)</script>", 401, "This token is not valid here."),
        (make_token("viewer", exp=1), 401, "This token has expired."),
        (make_token("viewer", iss="https://other.example"), 401, "This token is not valid here."),
        (make_token("viewer", aud="other"), 401, "This token is not valid here."),
        (make_token("janitor", exp=time.time() + 36_000), 403, "none of the roles"),
        ("x" * (MAX_FORM_BYTES + 1), 413, "That is too long for a token."),
    ],
    ids=["none", "nonsense", "markup", "expired", "issuer", "audience", "no role", "huge"],
)
async def test_a_token_that_is_no_good_lets_nobody_in(
    http: httpx.AsyncClient, token: str, status: int, said: str
):
    answer = await sign_in(http, token)
    assert (answer.status_code, said in answer.text) == (status, True)
    assert "set-cookie" not in answer.headers
    assert "<script" not in answer.text
    assert (await http.get("/ui/gather", headers=HTML)).headers["location"] == "/ui/sign-in"


async def test_a_refusal_is_logged_without_the_token(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    await sign_in(http, "a-secret.of.somebody")
    assert "invalid_token" in caplog.text
    assert "a-secret" not in caplog.text


async def test_without_keys_nobody_gets_in(service: FakeService):
    directory = service.directory / "other"
    keys = missing(Misconfigured("AUTH_JWT_SECRET", "is not set"))
    async with open_service(directory, keys=keys) as closed:
        transport = httpx.ASGITransport(closed.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answer = await sign_in(http, make_token("admin"))
    assert (answer.status_code, "AUTH_JWT_SECRET" in answer.text) == (503, True)


async def test_a_form_of_another_site_signs_nobody_in_or_out(http: httpx.AsyncClient):
    answer = await sign_in(http, make_token("viewer"), Origin="https://evil.example")
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    await sign_in(http, make_token("viewer"))
    answer = await http.post("/ui/sign-out", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_every_sign_in_has_a_session_of_its_own(http: httpx.AsyncClient):
    http.cookies.set("aletheia_session", "chosen-by-somebody-else", domain="test", path="/ui")
    ids: set[str | None] = set()
    for _ in range(3):
        answer = await sign_in(http, make_token("viewer"))
        ids.add(answer.cookies["aletheia_session"])
    assert len(ids) == 3
    assert "chosen-by-somebody-else" not in ids


async def test_who_signs_out_is_out(http: httpx.AsyncClient):
    answer = await sign_in(http, make_token("viewer"))
    session_id = answer.cookies["aletheia_session"]
    answer = await http.post("/ui/sign-out")
    assert answer.headers["location"] == "/ui/sign-in?ended"
    shown = await http.get("/ui/sign-in?ended")
    assert "You are signed out" in shown.text
    stolen = {"Cookie": f"aletheia_session={session_id}"}
    answer = await http.get("/ui/_nicegui/x", headers=stolen)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("form", "token"),
    [
        ("token=a.b.c", "a.b.c"),
        ("token=Bearer+a.b.c", "a.b.c"),
        ("token=+a.b%0D%0A.c%0A", "a.b.c"),
        ("token=%C3%BC", "?"),
        ("token=a%00b", "?"),
        ("other=1", ""),
        ("", ""),
    ],
)
def test_a_pasted_token_is_read_as_it_was_meant(form: str, token: str):
    assert read_token(form) == token
