"""The command `serve`: the Brain API for other programs."""

import json
import logging
import signal
import sys
from typing import Annotated, Any, Final

import typer
import uvicorn
from fastapi import FastAPI

from aletheia.brain.index import IndexedBrain
from aletheia.errors import Unavailable
from aletheia.service.app import create_app
from aletheia.service.brain import BrainSource, make_brain_router
from aletheia.service.guarding import BearerKey, guarded_by
from aletheia.service.health import Ping
from aletheia.settings import LogSettings, ServiceSettings
from blocks import BrainCredentials
from deployments import ROOT
from deployments.runs import in_session
from tasks.clients.brain import get_indexed_brain
from tasks.session import load_block

log = logging.getLogger("aletheia.service")

API_KEY: Final = "BRAIN_SERVICE_API_KEY"
DOCUMENT: Final = ROOT / "docs" / "openapi.json"

MAX_CONNECTIONS: Final = 64
"""Requests and idle connections at once; each may hold a body of `MAX_BODY_BYTES`."""

GRACE_S: Final = 20
"""How long requests under way may take after SIGTERM, seconds."""

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="By default METRICS_PORT.")
    ] = None,
) -> None:
    """Serve the Brain to other programs, until SIGTERM or Ctrl-C."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("aletheia", "uvicorn"):
        logging.getLogger(name).setLevel(LogSettings().log_level)
    # uvicorn sends itself the signal again once it has stopped, and everything else still has to be
    # closed then.
    signal.signal(signal.SIGTERM, lambda _signum, _frame: sys.exit(0))
    _serve(host, port or ServiceSettings().metrics_port)


@in_session
async def _serve(host: str, port: int) -> None:
    key = (await load_block(BrainCredentials)).api_key
    config = uvicorn.Config(
        build_app(await get_indexed_brain(draws_edges=False), key),
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
