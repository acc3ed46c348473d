from collections.abc import AsyncGenerator

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.oauth2 import ClientAuth, OAuth2SignIn
from aletheia.errors import Unauthorized
from tests.fakes.upstream import serve_fake_upstream
from tests.services.oauth2 import MISSING, PROGRAM, run_oauth2_server

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=MISSING)


@pytest.fixture
async def server() -> AsyncGenerator[str]:
    async with run_oauth2_server() as url:
        yield url


async def read_keys(server: str) -> KeySet:
    async with aiohttp.ClientSession() as session, session.get(f"{server}/jwks") as response:
        return KeySet.import_key_set(await response.json())


@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
async def test_a_token_is_one_that_the_server_signed(server: str, client_auth: ClientAuth) -> None:
    sign_in = OAuth2SignIn(
        f"{server}/token", "me", "hunter2", scope="tasks:write", client_auth=client_auth
    )
    header = await sign_in.header()
    assert header is not None
    token = jwt.decode(header.removeprefix("Bearer "), await read_keys(server))
    assert token.claims["scope"] == "tasks:write"
    assert await sign_in.header() == header


async def test_an_upstream_that_knows_the_token_takes_a_report(server: str) -> None:
    sign_in = OAuth2SignIn(f"{server}/token", "me", "hunter2")
    token = (await sign_in.header() or "").removeprefix("Bearer ")
    async with serve_fake_upstream() as upstream:
        upstream.tokens = {token}
        upstream.add("t1")
        client = HttpUpstream(upstream.url, sign_in=sign_in)
        await client.open()
        await client.report("t1", b'{"state":"processing"}')
        await client.close()
        assert upstream.states == {"t1": ["processing"]}


async def test_a_wrong_address_at_the_server_is_unauthorized(server: str) -> None:
    sign_in = OAuth2SignIn(f"{server}/no/such/token", "me", "hunter2")
    with pytest.raises(Unauthorized) as caught:
        await sign_in.header()
    assert caught.value.status == 404
