"""The service as a process of its own: the Brain API, for other programs.

    aletheia serve [--host 127.0.0.1] [--port 8001]
    python -m deployments.serve --openapi [--check]

The latter writes `docs/openapi.json`; with `--check` it only says whether it agrees.
"""

import asyncio
import json
import logging
import signal
import sys
from typing import Any, Final, NoReturn

import uvicorn

from aletheia.brain.ports import Brain
from aletheia.errors import Misconfigured, Unavailable
from aletheia.service.app import ServiceParts, create_app
from aletheia.settings import LogSettings
from deployments import ROOT
from tasks.clients.brain import get_brain_key, get_indexed_brain
from tasks.session import open_session

DOCUMENT: Final = ROOT / "docs" / "openapi.json"

MAX_CONNECTIONS: Final = 64
"""Requests and idle connections at once; each may hold a body of `MAX_BODY_BYTES`."""

GRACE_S: Final = 20
"""How long requests under way may take after SIGTERM, seconds."""


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; what is under way then is finished.

    Raises:
        Misconfigured: there is no key, or what is configured makes no sense.
        Unavailable: the port is taken.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("aletheia", "uvicorn"):
        logging.getLogger(name).setLevel(LogSettings().log_level)
    # Whoever ends us gets an orderly end: the service sends itself the signal again once it has
    # stopped, and by then everything else still has to be closed.
    signal.signal(signal.SIGTERM, _end)
    asyncio.run(_serve(host, port))


async def _serve(host: str, port: int) -> None:
    async with open_session():
        app = create_app(await build_parts())
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = uvicorn.Server(config)
        try:
            await server.serve()
        except SystemExit as ended:
            if server.started or not ended.code:
                raise
            raise Unavailable("service", f"{host}:{port} cannot be listened on") from None


async def build_parts() -> ServiceParts:
    """Put together what the service is made of.

    Raises:
        Misconfigured: there is no key, or what is configured makes no sense.
    """
    key = await get_brain_key()
    if not key:
        reason = "is needed to serve the Brain; set it and run `aletheia setup`"
        raise Misconfigured("BRAIN_SERVICE_API_KEY", reason)
    return ServiceParts(await get_indexed_brain(), key)


def write_document() -> str:
    """Write the OpenAPI document."""
    nothing: Any = None
    brain: Brain = nothing
    app = create_app(ServiceParts(brain, None))
    return json.dumps(app.openapi(), indent=2) + "\n"


def _end(*_: object) -> NoReturn:
    sys.exit(0)


def main() -> None:
    """Write the OpenAPI document, or check it."""
    words = sys.argv[1:]
    if words not in (["--openapi"], ["--openapi", "--check"]):
        sys.exit("usage: python -m deployments.serve --openapi [--check]")
    text = write_document()
    shown = DOCUMENT.relative_to(ROOT)
    if "--check" in words:
        if not DOCUMENT.exists() or DOCUMENT.read_text() != text:
            sys.exit(f"out of date: {shown}; run `python -m deployments.serve --openapi`")
        return
    DOCUMENT.write_text(text)
    print(f"wrote {shown}")


if __name__ == "__main__":
    main()
