"""The upstream task API."""

import logging

from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.guarded import GuardedUpstream
from blocks import UpstreamCredentials
from tasks.clients.blocks import load_block
from tasks.clients.metering import get_breakers
from tasks.session import current_session

log = logging.getLogger("aletheia.upstream")


async def get_upstream() -> GuardedUpstream:
    """Return the client of the upstream API, behind its breaker."""
    loaded = await load_block(UpstreamCredentials)

    async def build() -> HttpUpstream:
        auth, why = loaded.block.choose_auth()
        log.info("sign-in to the upstream: %s, as %s", auth, why)
        return loaded.block.get_client()

    client = await current_session().clients.open(("upstream", *loaded.key), build)
    return GuardedUpstream(client, await get_breakers())
