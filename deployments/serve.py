"""The command `serve`: the service for other programs, front ends and operators."""

import asyncio
import json
import logging
import resource
import signal
import sys
from contextlib import suppress
from typing import Annotated, Final

import typer
import uvicorn

from aletheia.adapters.telemetry import exporting
from aletheia.errors import Misconfigured, Unavailable
from aletheia.logs import configure_logs
from aletheia.service.assembly import build_service, no_parts
from aletheia.service.connections import configure
from aletheia.service.settings import ServiceSettings
from aletheia.settings import IntakeSettings, LogSettings
from aletheia.telemetry import TelemetrySettings
from deployments import ROOT
from deployments.service_parts import gather_parts
from tasks.session import open_session

DOCUMENT: Final = ROOT / "docs" / "openapi.json"

MAX_FILES: Final = 16_384
"""Open files, sockets among them, that the service asks the system for."""

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; by default SERVICE_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="By default METRICS_PORT.")
    ] = None,
) -> None:
    """Serve the Brain, reads, actions, live events and webhooks, until SIGTERM or Ctrl-C."""
    logs = LogSettings()
    configure_logs(logs.log_level, is_json=logs.log_format == "json")
    # uvicorn logs the addresses of sockets, in which a ticket may stand.
    logging.getLogger("uvicorn.error").addFilter(hide_queries)
    # uvicorn sends itself the signal again once it has stopped, and everything else still has to be
    # closed then.
    signal.signal(signal.SIGTERM, lambda _signum, _frame: sys.exit(0))
    _allow_files()
    settings = ServiceSettings()
    asyncio.run(_serve(host or settings.service_host, port or settings.metrics_port, settings))


async def _serve(host: str, port: int, settings: ServiceSettings) -> None:
    async with open_session(), exporting(TelemetrySettings()):
        application = build_service(gather_parts(), settings, IntakeSettings())
        server = uvicorn.Server(configure(application, host, port))
        try:
            await server.serve()
        except SystemExit as ended:
            if server.started or not ended.code:
                raise
            raise Unavailable("service", f"{host}:{port} cannot be listened on") from None


def hide_queries(record: logging.LogRecord) -> bool:
    """Take the query out of addresses in a record; keep the record."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            f"{value.partition('?')[0]}?…" if isinstance(value, str) and "?" in value else value
            for value in record.args
        )
    return True


def _allow_files() -> None:
    """Ask for as many open files as a thousand sockets take, where the system allows them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def write_document() -> str:
    """Return the OpenAPI document."""
    parts = no_parts(Misconfigured("everything", "is missing"))
    application = build_service(parts, ServiceSettings(), IntakeSettings())
    return json.dumps(application.openapi(), indent=2) + "\n"
