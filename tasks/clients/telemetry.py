"""Traces of a run, and the processor time that it takes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psutil

from aletheia.adapters.telemetry import exporting
from aletheia.metrics import CPU_SECONDS
from aletheia.series import Note, merged
from aletheia.telemetry import TelemetrySettings


@asynccontextmanager
async def exporting_traces(settings: TelemetrySettings) -> AsyncGenerator[None]:
    """Send traces of the block where an endpoint is set; see `exporting`."""
    async with exporting(settings):
        yield


@asynccontextmanager
async def counting_processor_time(note: Note) -> AsyncGenerator[None]:
    """Count the processor time of the block, in this process and in those of its models."""
    poller_s, model_s = _processor_times()
    try:
        yield
    finally:
        ended_poller_s, ended_model_s = _processor_times()
        note(
            merged(
                CPU_SECONDS.add("poller", by=max(0.0, ended_poller_s - poller_s)),
                CPU_SECONDS.add("model", by=max(0.0, ended_model_s - model_s)),
            )
        )


def _processor_times() -> tuple[float, float]:
    """Return the processor time of this process and of its children so far, seconds."""
    own, children_s = psutil.Process(), 0.0
    for child in own.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it has just ended
            continue
        children_s += times.user + times.system
    times = own.cpu_times()
    return times.user + times.system, children_s
