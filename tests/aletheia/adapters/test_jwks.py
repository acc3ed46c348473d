from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from aletheia.adapters import jwks
from aletheia.adapters.jwks import KeyDocument
from aletheia.errors import AletheiaError, Misconfigured, Refused, Unavailable


class Issuer:
    """Answers with whatever it is told."""

    def __init__(self) -> None:
        self.url, self.status, self.body = "", 200, b'{"keys": []}'

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        del request
        return web.Response(status=self.status, body=self.body, headers={"Location": "/"})


@pytest.fixture
async def issuer() -> AsyncGenerator[Issuer]:
    found = Issuer()
    runner = web.ServerRunner(web.Server(found, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    yield found
    await runner.cleanup()


async def read(address: str) -> bytes:
    document = KeyDocument(address, timeout_s=2)
    await document.open()
    try:
        return await document.read()
    finally:
        await document.close()


async def test_the_document_is_read_as_it_is(issuer: Issuer):
    assert await read(issuer.url) == issuer.body


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Refused), (403, Refused), (500, Unavailable), (302, Unavailable)]
)
async def test_anything_but_success_is_an_error(
    issuer: Issuer, status: int, kind: type[AletheiaError]
):
    issuer.status = status
    with pytest.raises(kind):
        await read(issuer.url)


async def test_a_document_without_an_end_is_not_read(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jwks, "MAX_BYTES", 1_000)
    issuer.body = b"x" * 2_000
    with pytest.raises(Unavailable):
        await read(issuer.url)


@pytest.mark.parametrize(
    "address",
    [
        "http://issuer.example/jwks",
        "http://127.0.0.1.evil.example/jwks",
        "http://localhost.evil.example/jwks",
        "ftp://issuer.example",
        "file:///etc/passwd",
        "https://user:password@issuer.example",
        "nonsense",
        "",
    ],
)
def test_an_address_that_somebody_may_change_on_the_way_is_refused(address: str):
    with pytest.raises(Misconfigured):
        KeyDocument(address)


@pytest.mark.parametrize(
    "address", ["https://issuer.example/jwks", "http://localhost:9/jwks", "http://[::1]:9/jwks"]
)
def test_https_and_this_machine_are_taken(address: str):
    KeyDocument(address)
