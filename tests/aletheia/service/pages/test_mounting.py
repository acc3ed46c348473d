"""What is below `/ui`, and for whom."""

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import websockets

from aletheia.service.pages.sessions import Session, Sessions
from tests.fakes.pages import PagesWorld
from tests.fakes.service import make_service, make_token
from tests.fakes.serving import serving

if TYPE_CHECKING:
    from tests.fakes.visitor import Visitor

PAGES = ["gather", "gather/shop", "system", "operations"]
SOCKET = "/ui/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


@pytest.mark.parametrize("path", ["", "/", *(f"/{page}" for page in PAGES)])
async def test_a_stranger_is_led_to_the_sign_in(world: PagesWorld, path: str):
    transport = httpx.ASGITransport(world.service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get(
            f"/ui{path}", headers={"Accept": "text/html"}, follow_redirects=True
        )
    assert (answer.status_code, answer.url.path) == (200, "/ui/sign-in")
    assert "shop" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        *("/ui/gather", "/ui/system", "/ui/none", "/ui/_nicegui/x", "/ui/favicon.ico"),
        *("/ui/_nicegui_ws/socket.io/?EIO=4&transport=polling", "/ui/..%2f..%2fetc%2fpasswd"),
    ],
)
@pytest.mark.parametrize("cookie", ["", "aletheia_session=made-up", "aletheia_session="])
async def test_nothing_is_served_to_a_stranger(world: PagesWorld, path: str, cookie: str):
    transport = httpx.ASGITransport(world.service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            answer = await http.request(method, path, headers={"Cookie": cookie})
            assert answer.status_code == 401, (method, answer.text)


async def test_every_answer_keeps_the_page_to_itself(visitor: "Visitor"):
    await visitor.sign_in("viewer")
    for path in ("sign-in", "gather", "_nicegui/none"):
        headers = (await visitor.http.get(f"/ui/{path}")).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


async def test_a_prefix_that_a_caller_names_is_not_written_into_the_page(visitor: "Visitor"):
    await visitor.sign_in("viewer")
    evil = '/x";alert(1)//'
    answer = await visitor.http.get("/ui/gather", headers={"X-Forwarded-Prefix": evil})
    assert answer.status_code == 200
    assert "alert(1)" not in answer.text


@contextlib.asynccontextmanager
async def signed_in(world: PagesWorld) -> AsyncGenerator[tuple[httpx.AsyncClient, str, str]]:
    """Serve the pages and sign in; give a client, the address and the cookie."""
    async with (
        serving(world.service.app, is_bounded=True) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        answer = await http.post("/ui/sign-in", data={"token": make_token("viewer")})
        yield http, url, f"aletheia_session={answer.cookies['aletheia_session']}"


async def open_socket(url: str, **headers: str) -> Any:
    return await websockets.connect(
        url.replace("http", "ws", 1) + SOCKET, additional_headers=headers, proxy=None
    )


async def test_a_socket_is_for_who_is_signed_in_from_the_pages_themselves(world: PagesWorld):
    pytest.importorskip("nicegui", reason="the extra `ui` is not installed")
    async with signed_in(world) as (http, url, cookie):
        for headers in ({}, {"Cookie": cookie, "Origin": "https://evil.example"}):
            with pytest.raises(websockets.InvalidStatus):
                await open_socket(url, **headers)
        socket = await open_socket(url, Cookie=cookie, Origin=url)
        assert str(await socket.recv()).startswith("0{")
        # Whoever signs out closes every page that is open in the session.
        await http.post("/ui/sign-out", headers={"Cookie": cookie})
        with pytest.raises(websockets.ConnectionClosed):
            async for _ in socket:
                pass
        assert socket.close_code == 4401


async def test_a_socket_ends_with_its_token(world: PagesWorld, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("nicegui", reason="the extra `ui` is not installed")

    def left_s(_sessions: Sessions, _session: Session) -> float:
        return 0.5

    monkeypatch.setattr(Sessions, "left_s", left_s)
    async with signed_in(world) as (_, url, cookie):
        socket = await open_socket(url, Cookie=cookie, Origin=url)
        with pytest.raises(websockets.ConnectionClosed):
            async for _ in socket:
                pass
        assert socket.close_code == 4401


async def test_pages_that_are_not_installed_say_so_and_the_rest_works(
    world: PagesWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aletheia.service.pages.mounting.TOOLKIT", "no_such_library")
    service = make_service(world.service.directory, world.service.store)
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/ui/gather")
        assert (answer.status_code, "aletheia[ui]" in answer.text) == (503, True)
        assert (await http.get("/health")).status_code == 200


async def test_two_services_of_a_process_have_each_their_own_visitors(
    world: PagesWorld, visitor: "Visitor"
):
    await visitor.sign_in("viewer")
    other = make_service(world.service.directory, world.service.store)
    transport = httpx.ASGITransport(other.app)
    async with (
        other.app.router.lifespan_context(other.app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as http,
    ):
        http.cookies = visitor.http.cookies
        assert (await http.get("/ui/gather")).status_code == 401
        await http.post("/ui/sign-in", data={"token": make_token("viewer")})
        assert (await http.get("/ui/gather")).status_code == 200
    await visitor.open("gather")
    await visitor.see("shop")
