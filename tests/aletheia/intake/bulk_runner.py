"""Works runs of the bulk lane in child processes that kill themselves at a chosen step.

Serves the orders of `tests.crash.harness`, each `{"url", "api_url", "api_key", "directory",
"kill_at", "lane_s", "is_shift"}`: one run of the lane, or one shift. A step is the moment
after anything that another process may see: a write to the store, a report to the upstream, a file
or a batch at the provider.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.openai.batches import OpenAIBatches
from aletheia.adapters.openai.tokens import Encoding, TokenTables
from aletheia.adapters.openai.wire import Api
from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.analysis.registry import Processors
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.text_embedding import TextEmbedding
from aletheia.intake.bulk.backlog import TASK_TYPE
from aletheia.intake.bulk.lane import BulkLane
from aletheia.intake.bulk.ports import LaneDeps, ProviderBatch
from aletheia.intake.ledger import Ledger
from aletheia.intake.poller import Poller
from aletheia.llm.prices import PriceTable
from aletheia.llm.usage import Spending
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.resilience.limits import RateLimiter, RateLimits
from aletheia.settings import BudgetSettings, IntakeSettings
from tests.aletheia.intake.crash_runner import SteppedUpstream, run_shift
from tests.crash.harness import Steps, serve_orders
from tests.fakes.documents import SteppedDocuments
from tests.fakes.usage import budget_limits


class SteppedBatches(OpenAIBatches):
    """The real client, with a step after each request that changes something."""

    def __init__(self, url: str, api_key: str, steps: Steps) -> None:
        api = Api("openai", api_key, url)
        super().__init__(api, EmbedderPlan("text-embedding-3-small"), TokenTables(no_tables))
        self._steps = steps

    async def upload(self, key: str, requests: Mapping[int, bytes]) -> str:
        stored = await super().upload(key, requests)
        self._steps.pass_one()
        return stored

    async def create(self, key: str, input_file: str) -> ProviderBatch:
        created = await super().create(key, input_file)
        self._steps.pass_one()
        return created

    async def forget(self, batch: ProviderBatch) -> None:
        await super().forget(batch)
        self._steps.pass_one()


def no_tables(name: str) -> Encoding:
    raise OSError(f"{name} cannot be had")


async def work(order: dict[str, Any], steps: Steps) -> None:
    """Work one run of the lane to its end, or one shift."""
    documents = SteppedDocuments(
        Path(order["directory"]), steps, observed=("insert", "update"), steps_before=False
    )
    await documents.open()
    upstream = SteppedUpstream(order["url"], steps, steps_before=False)
    await upstream.open()
    batches = SteppedBatches(order["api_url"], order["api_key"], steps)
    await batches.open()
    settings = IntakeSettings(
        _env_file=None,  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
        clock_skew_seconds=0,
        poll_limit=100,
        retry_base_seconds=0,
    )
    if order["is_shift"]:
        await work_shift(documents, upstream, batches, settings)
    else:
        await work_lane(documents, upstream, batches, settings, order["lane_s"])
    await batches.close()
    await upstream.close()
    await documents.close()


async def work_lane(
    documents: EmbeddedDocuments,
    upstream: HttpUpstream,
    batches: OpenAIBatches,
    settings: IntakeSettings,
    lane_s: float,
) -> None:
    """Work one run of the lane to its end."""
    prices = PriceTable.from_settings(BudgetSettings(_env_file=None))  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument
    breakers = CircuitBreaker(documents, threshold=5, cooldown_s=60)
    deps = LaneDeps(
        upstream=upstream,
        documents=documents,
        processors=_processors(batches),
        batches=batches,
        spending=Spending(documents, prices, budget_limits()),
        breakers=breakers,
        limiter=RateLimiter(documents, RateLimits(1000, 1000, 1000, 1000, 1000)),
        settings=settings,
        run_id=f"run {os.getpid()}",
        lane_lease_s=lane_s,
        listed_after_s=0,
    )
    lane = BulkLane(deps)
    async with lane.held():
        if not await lane.attach():
            await lane.collect(None, 2)
        while await lane.next_poll(asyncio.sleep):
            await lane.poll()


async def work_shift(
    documents: EmbeddedDocuments,
    upstream: HttpUpstream,
    batches: OpenAIBatches,
    settings: IntakeSettings,
) -> None:
    """Work one shift until nothing is left to do now."""
    ledger = Ledger(documents, settings, owner=str(os.getpid()))
    await run_shift(Poller(upstream, ledger, _processors(batches)))


def _processors(batches: OpenAIBatches) -> Processors:
    return Processors({TASK_TYPE: TextEmbedding(batches, WorkerSettings(max_text_bytes=100_000))})


if __name__ == "__main__":
    serve_orders(work)
