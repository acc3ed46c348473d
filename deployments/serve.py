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
from aletheia.service.brain import BrainSource, make_brain_router
from aletheia.service.guarding import BearerKey, guarded_by
from aletheia.service.health import Ping
from aletheia.settings import LogSettings
from blocks import BrainCredentials
from deployments import ROOT
from deployments.generated import write_or_check
from tasks.clients.blocks import load_block
from tasks.clients.brain import get_indexed_brain
from tasks.session import open_session

log = logging.getLogger("aletheia.service")

API_KEY: Final = "BRAIN_SERVICE_API_KEY"
DOCUMENT: Final = ROOT / "docs" / "openapi.json"

MAX_CONNECTIONS: Final = 64
"""Requests and idle connections at once; each may hold a body of `MAX_BODY_BYTES`."""

GRACE_S: Final = 20
"""How long requests under way may take after SIGTERM, seconds."""


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("aletheia", "uvicorn"):
        logging.getLogger(name).setLevel(LogSettings().log_level)
    # uvicorn sends itself the signal again once it has stopped, and everything else still has to be
    # closed then.
    signal.signal(signal.SIGTERM, _end)
    asyncio.run(_serve(host, port))


async def _serve(host: str, port: int) -> None:
    async with open_session():
        key = (await load_block(BrainCredentials)).api_key
        app = build_app(await get_indexed_brain(draws_edges=False), key)
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
    """Build the application; an empty key refuses all callers of the Brain."""
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
    if "--openapi" not in sys.argv[1:]:
        sys.exit("usage: python -m deployments.serve --openapi [--check]")
    write_or_check({DOCUMENT: write_document()}, "make openapi")


if __name__ == "__main__":
    main()
