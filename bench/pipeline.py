"""The contender: one long shift of `poll_tasks`, a flow run on the server that is configured.

    python -m bench.pipeline http://127.0.0.1:PORT/NAME DATA_DIR

saves the blocks it needs first. Ends on SIGINT.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

from blocks import StoreCredentials, UpstreamCredentials
from flows.poll import poll_tasks

SHIFT_SECONDS = 3600.0
"""Longer than any bench."""


async def main(base_url: str, data_dir: str) -> None:
    """Poll until the run is cancelled."""
    await UpstreamCredentials(base_url=base_url, auth="none").asave("default", overwrite=True)
    await StoreCredentials(data_dir=Path(data_dir)).asave("default", overwrite=True)
    await poll_tasks(shift_seconds=SHIFT_SECONDS)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
