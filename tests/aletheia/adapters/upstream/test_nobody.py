"""No upstream, where tasks are only pushed."""

import pytest

from aletheia.adapters.upstream.nobody import NoUpstream
from aletheia.errors import Misconfigured


async def test_it_lists_nothing_and_takes_nothing():
    assert await NoUpstream().pending(10) == []
    with pytest.raises(Misconfigured, match="API_BASE_URL: is `none`"):
        await NoUpstream().report("t1", b"{}")
