"""OpenTelemetry's SDK, which the extra `otel` brings: started in the process that does the work.

Prefect starts a run in a process of its own, where instrumentation that wraps a program from
outside is lost (https://github.com/PrefectHQ/prefect/issues/20535). So a run starts it itself.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from opentelemetry import metrics, trace

from aletheia.adapters.http import read_base_url
from aletheia.errors import Misconfigured
from aletheia.telemetry import CONTENT, TelemetrySettings

log = logging.getLogger(__name__)

FLUSH_TIMEOUT_S: Final = 3.0
"""How long the end of a run waits until its last spans are sent."""

EXPORT_EVERY_MS: Final = 15_000
"""Between two exports of metrics."""

EXPORT_TIMEOUT_S: Final = 5
"""For one export."""

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""The setting that errors point to."""

INSTRUMENTED: Final = (
    ("opentelemetry.instrumentation.aiohttp_client", "AioHttpClientInstrumentor"),
    ("opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor"),
    ("opentelemetry.instrumentation.pymongo", "PymongoInstrumentor"),
    ("opentelemetry.instrumentation.redis", "RedisInstrumentor"),
)
"""What makes clients' requests spans; one that is not installed is passed over. FastAPI makes those
of the requests that the service answers itself."""


@asynccontextmanager
async def exporting(settings: TelemetrySettings) -> AsyncGenerator[None]:
    """Send traces and metrics of the block to the endpoint, where one is set.

    A process starts the SDK once, however many blocks there are; each ends with what it has left.

    Raises:
        Misconfigured: there is an endpoint, and the extra `otel` is not installed.
    """
    flush = start(settings)
    try:
        yield
    finally:
        if flush is not None:
            await _bounded(flush)


def start(settings: TelemetrySettings) -> Callable[[], None] | None:
    """Start the SDK if it is not started; return what sends all that is left; `None` if it is off.

    Where another program has started one in this process, its own serves. Raises `Misconfigured`:
    the extra `otel` is not installed, or the endpoint is no address.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    endpoint = read_base_url(ENDPOINT, settings.otel_exporter_otlp_endpoint)
    if find_spec("opentelemetry.sdk") is None:
        raise Misconfigured(ENDPOINT, "needs the extra `otel`: pip install 'aletheia[otel]'")
    CONTENT.is_on = settings.otel_instrumentation_genai_capture_message_content
    if _is_idle(trace.get_tracer_provider()):
        _start_traces(endpoint, settings.otel_service_name)
        _start_metrics(endpoint, settings.otel_service_name)
        for module, name in INSTRUMENTED:
            _instrument(module, name)
        log.info("traces go to %s", endpoint)
    return _flush


def _is_idle(provider: object) -> bool:
    """Return whether a provider is none of an SDK: what the API brings only passes on."""
    return not hasattr(provider, "force_flush")


def _start_traces(endpoint: str, service: str) -> None:
    sdk = import_module("opentelemetry.sdk.trace")
    export = import_module("opentelemetry.sdk.trace.export")
    otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    # At its end the process must not wait for a receiver that is away.
    provider: Any = sdk.TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    exporter = otlp.OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def _start_metrics(endpoint: str, service: str) -> None:
    sdk = import_module("opentelemetry.sdk.metrics")
    export = import_module("opentelemetry.sdk.metrics.export")
    otlp = import_module("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    exporter = otlp.OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=EXPORT_TIMEOUT_S)
    reader = export.PeriodicExportingMetricReader(exporter, EXPORT_EVERY_MS)
    metrics.set_meter_provider(
        sdk.MeterProvider([reader], resource=_resource(service), shutdown_on_exit=False)
    )


def _resource(service: str) -> Any:
    resources = import_module("opentelemetry.sdk.resources")
    return resources.Resource.create({"service.name": service})


def _instrument(module: str, name: str) -> None:
    if not _is_installed(module):
        return
    instrumentor = getattr(import_module(module), name)()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that it is in
        return False


def _flush() -> None:
    """Send what is left; blocks."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        flush: Callable[[int], object] | None = getattr(provider, "force_flush", None)
        if flush is not None:
            flush(int(FLUSH_TIMEOUT_S * 1000))


async def _bounded(flush: Callable[[], None]) -> None:
    """Call what may block for longer than there is time, in a thread that nobody waits for."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            flush()
        except Exception:
            log.warning("the last traces were not sent", exc_info=True)
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="telemetry-flush", daemon=True).start()
    try:
        async with asyncio.timeout(FLUSH_TIMEOUT_S):
            await done.wait()
    except TimeoutError:
        log.warning("the last traces were not sent within %g s", FLUSH_TIMEOUT_S)
