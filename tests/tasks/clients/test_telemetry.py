"""The processor time of a block is counted."""

import time

from aletheia.metrics import CPU_SECONDS
from aletheia.series import Counters, Counts, merged
from aletheia.telemetry import TelemetrySettings
from tasks.clients.telemetry import counting_processor_time, exporting_traces


async def test_the_processor_time_of_a_block_is_counted():
    noted: list[Counts] = []
    async with counting_processor_time(noted.append):
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
    counters = Counters(merged(*noted))
    assert 0.03 < counters.value(CPU_SECONDS, "poller") < 5
    assert counters.value(CPU_SECONDS, "model") >= 0


async def test_a_run_without_an_endpoint_is_left_alone():
    settings = TelemetrySettings(otel_exporter_otlp_endpoint=None)
    async with exporting_traces(settings):
        pass
