"""Start the OAuth2 server that `install_oauth2.sh` installs: oauth2-mock-server, from npm."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

PROGRAM = (
    Path(__file__).parents[2] / ".services" / "oauth2" / "node_modules" / ".bin"
) / "oauth2-mock-server"

MISSING = "no OAuth2 server: run `make services`"
"""Why tests are skipped where the program is not installed."""


@asynccontextmanager
async def run_oauth2_server() -> AsyncGenerator[str]:
    """Run the server on a free port of 127.0.0.1 and give its base URL."""
    server = await asyncio.create_subprocess_exec(
        PROGRAM,
        "-a",
        "127.0.0.1",
        "-p",
        "0",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(30):
            yield await _read_url(server)
    finally:
        if server.returncode is None:
            server.terminate()
        await server.communicate()


async def _read_url(server: asyncio.subprocess.Process) -> str:
    assert server.stdout is not None
    said = ""
    async for line in server.stdout:
        said += line.decode()
        if found := re.search(r"listening on (http://\S+)", said):
            return found[1]
    raise RuntimeError(f"oauth2-mock-server ended at its start: {said}")
