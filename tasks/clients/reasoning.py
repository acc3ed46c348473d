"""What system reasoning works with: the sources of a snapshot, the model, the rules."""

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

import httpx
from prefect.client.orchestration import get_client

from aletheia.adapters.http_answers import excerpt, make_error
from aletheia.adapters.platform.embedded import EmbeddedPlatform
from aletheia.adapters.platform.mongodb import PlatformOnMongo
from aletheia.adapters.prefect.reader import PREFECT, PrefectRuns
from aletheia.errors import AletheiaError, Unavailable, Unreachable
from aletheia.gather.run_records import OPEN, RUNS
from aletheia.intake.ledger import Ledger
from aletheia.llm.prices import PriceTable, Tokens
from aletheia.reasoning import sources
from aletheia.reasoning.collecting import Collector, load_collectors
from aletheia.reasoning.engine import Reasoner, ReasoningDeps
from aletheia.reasoning.explaining import Explainer
from aletheia.reasoning.findings import load_rules
from aletheia.reasoning.platform import Platform
from aletheia.reasoning.ports import PlatformData
from aletheia.series import Counters
from aletheia.store.counters import read_counters
from blocks import StoreCredentials
from tasks.clients.brain import get_outbox
from tasks.clients.chat import get_bounded_chat, get_default_model
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.store import get_store
from tasks.session import current_session, load_block, once

log = logging.getLogger("aletheia.reasoning")

DONE: Final = "completed"
"""The state of a gather run that is over as it should be."""


@once
async def get_reasoner() -> Reasoner:
    """Return what reasons about the system, ready to run."""
    session, store = current_session(), await get_store()
    settings = session.settings.reasoning
    explainer = await _build_explainer()
    await sources.prepare_sources(store)
    collectors = [*await _build_collectors(explainer), *load_collectors()]
    deps = ReasoningDeps(
        documents=store,
        collectors=collectors,
        rules=load_rules(),
        bounds=session.settings.findings,
        settings=settings,
        explainer=explainer,
    )
    reasoner = Reasoner(deps)
    await reasoner.prepare()
    return reasoner


async def _build_explainer() -> Explainer | None:
    """Return what asks a model, unless nobody may be asked: then the rules speak alone."""
    settings = current_session().settings
    try:
        chat = await get_bounded_chat()
    except AletheiaError:
        if settings.reasoning.reasoning_max_calls_per_day:
            log.warning("no model explains findings: none is set up")
        return None
    prices = PriceTable.from_settings(settings.budgets)

    def cost(provider: str, model: str, tokens: Tokens) -> int:
        return prices.cost(provider, model, "chat", tokens)

    model = settings.reasoning.reasoning_model or await get_default_model()
    return Explainer(await get_store(), chat, model, settings.reasoning, cost)


async def _build_collectors(explainer: Explainer | None) -> list[Collector]:
    settings, store = current_session().settings, await get_store()
    ledger = Ledger(store, settings.intake, owner="reasoning")

    async def read() -> Counters:
        return await read_counters(store)

    found = [
        sources.ledger_source(ledger, read),
        sources.Telemetry(read).source(),
        sources.lanes_source(ledger, read),
        sources.breakers_source(await get_breakers()),
        sources.limits_source(await get_limiter()),
        sources.budgets_source(await get_spending()),
        sources.brain_source(await get_outbox()),
        sources.models_source(store, settings.embedding.model_memory_max),
        sources.gather_source(store, runs=RUNS, is_open=OPEN, is_done=DONE),
        sources.events_source(store),
        sources.prefect_source(PrefectRuns(post_to_prefect)),
    ]
    if explainer is not None:
        found.append(sources.reasoning_source(explainer.read_failures))
    if settings.platform.platform_enabled:
        found.append(Platform(await _get_platform(), settings.platform.names()).source())
    return found


@once
async def _get_platform() -> PlatformData:
    settings, block = current_session().settings, await load_block(StoreCredentials)
    database = block.get_platform_client(settings.platform.platform_mongodb_database)
    if database is None:
        return EmbeddedPlatform(await get_store())
    return PlatformOnMongo(await current_session().clients.open(database))


async def post_to_prefect(path: str, body: Mapping[str, Any]) -> object:
    """Send a request to the Prefect API by its own client, which signs in as this run does."""
    try:
        async with get_client() as client:
            answer = await client.request("POST", path, json=dict(body))  # pyright: ignore[reportArgumentType] - paths of the API are literals there
    except httpx.HTTPStatusError as error:
        said = excerpt(error.response.text)
        raise make_error(PREFECT, error.response.status_code, said) from None
    except (httpx.HTTPError, RuntimeError, OSError) as error:
        is_away = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        kind = Unreachable if is_away else Unavailable
        raise kind(PREFECT, f"{type(error).__name__}: {error}"[:200]) from None
    return json.loads(answer.content)
