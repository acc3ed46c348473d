"""The service as a process of its own: the Brain API, for other programs.

    aletheia serve [--host 127.0.0.1] [--port 8001]
    python -m deployments.serve --openapi [--check]

The latter writes `docs/openapi.json`; with `--check` it fails if that is out of date.
"""

import asyncio
import json
import logging
import signal
import sys
from typing import Any, Final, NoReturn

import uvicorn
from fastapi import FastAPI

from aletheia.brain.index import IndexedBrain
from aletheia.errors import Unavailable
from aletheia.service.app import create_app
from aletheia.service.auth import BearerKey
from aletheia.service.brain import BrainSource, make_brain_router
from aletheia.service.guarding import guarded_by
from aletheia.service.health import Ping
from aletheia.settings import LogSettings
from deployments import ROOT
from tasks.clients.brain import get_brain_key, get_indexed_brain
from tasks.session import open_session

log = logging.getLogger("aletheia.service")

API_KEY: Final = "BRAIN_SERVICE_API_KEY"
DOCUMENT: Final = ROOT / "docs" / "openapi.json"

MAX_CONNECTIONS: Final = 64
"""Requests and idle connections at once; each may hold a body of `MAX_BODY_BYTES`."""

GRACE_S: Final = 20
"""How long requests under way may take after SIGTERM, seconds."""


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished.

    Raises:
        Misconfigured: what is configured makes no sense.
        Unavailable: the port is taken.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("aletheia", "uvicorn"):
        logging.getLogger(name).setLevel(LogSettings().log_level)
    # uvicorn sends itself the signal again once it has stopped, and everything else still has to be
    # closed then.
    signal.signal(signal.SIGTERM, _end)
    asyncio.run(_serve(host, port))


async def _serve(host: str, port: int) -> None:
    async with open_session():
        app = build_app(await get_indexed_brain(draws_edges=False), await get_brain_key())
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


def build_app(brain: IndexedBrain, key: str) -> FastAPI:
    """Build the application.

    Args:
        brain: what it serves.
        key: what callers of the Brain have to send; empty refuses them all.
    """
    source, guard = BrainSource(brain), BearerKey(key, API_KEY)
    if not key:
        log.warning("nobody may call the Brain: %s is not set", API_KEY)
    pings = [Ping("brain", source.ping), Ping("brain key", guard.ping, is_needed=False)]
    return create_app([make_brain_router(source, guarded_by(guard))], guard, pings)


def write_document() -> str:
    """Return the OpenAPI document."""
    nothing: Any = None
    app = build_app(nothing, "a-key")
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
