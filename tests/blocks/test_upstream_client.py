"""The sign-in that the upstream's block builds."""

from typing import Any

import pytest
from pydantic import ValidationError

from blocks import UpstreamCredentials
from tests.fakes.oauth2 import FakeTokenEndpoint
from tests.fakes.upstream import FakeUpstream


@pytest.mark.parametrize("given", [None, "basic", "post"])
async def test_a_token_endpoint_gets_the_secret_where_it_wants_it(given: str | None):
    endpoint = FakeTokenEndpoint(client_auth=f"client_secret_{given or 'basic'}")
    upstream = FakeUpstream()
    upstream.tokens = {"token-1"}
    url, base_url = await endpoint.start(), await upstream.start()
    values: dict[str, Any] = {
        "base_url": base_url,
        "auth": "oauth2",
        "oauth2_token_url": url,
        "oauth2_client_id": endpoint.client_id,
        "oauth2_client_secret": endpoint.client_secret,
    }
    if given is not None:
        values["oauth2_client_auth"] = given
    client = UpstreamCredentials.model_validate(values).get_client()
    await client.open()
    try:
        assert await client.pending(1) == []
    finally:
        await client.close()
        await endpoint.stop()
        await upstream.stop()
    assert endpoint.issued == ["token-1"]


@pytest.mark.parametrize("given", ["client_secret_post", "header", "BASIC"])
def test_another_word_for_it_is_refused(given: str):
    with pytest.raises(ValidationError, match="oauth2_client_auth"):
        UpstreamCredentials.model_validate({"base_url": "http://x", "oauth2_client_auth": given})
