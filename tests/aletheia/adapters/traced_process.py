"""A process of its own that is traced, for tests: `traced_process.py ENDPOINT`.

Prints how long the end of the traced block took, seconds.
"""

import asyncio
import contextlib
import sys
import time

import aiohttp

from aletheia import telemetry
from aletheia.adapters.telemetry import exporting
from aletheia.telemetry import TelemetrySettings, model_call, span


async def work(endpoint: str) -> None:
    async with exporting(TelemetrySettings(otel_exporter_otlp_endpoint=endpoint)):
        with span(telemetry.POLL), model_call("openai", "gpt-x", "chat") as call:
            call.used(3, 4)
            async with aiohttp.ClientSession() as session:
                with contextlib.suppress(aiohttp.ClientError):
                    await session.get(f"{endpoint}/asked")
        began_s = time.monotonic()
    sys.stdout.write(f"{time.monotonic() - began_s}\n")


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
