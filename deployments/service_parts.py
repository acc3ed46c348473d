"""What the service works with, each opened when it is first needed, and missing until then."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import httpx
from prefect.blocks.core import Block
from prefect.settings import get_current_settings

from aletheia.adapters.gpus import read_gpus
from aletheia.adapters.jwks import KeyDocument
from aletheia.adapters.prefect.client import PrefectApi
from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.brain.index import IndexedBrain
from aletheia.errors import Misconfigured, Unavailable
from aletheia.items.content import ContentStore
from aletheia.reasoning.history import History
from aletheia.service.assembly import ServiceParts
from aletheia.service.health import Ping, Readings, spaced
from aletheia.service.keys import PublishedKeys, VerificationKeys
from aletheia.service.metric_sources import gpu_source, own_sources, reasoning_source
from aletheia.service.metrics import MetricsPage
from aletheia.service.parts import RETRY_AFTER_S, Part, derive
from aletheia.service.ports import CheckCallback, OpenContent, Orchestrator
from blocks import (
    BrainCredentials,
    EventCredentials,
    LLMCredentials,
    ServiceCredentials,
    StoreCredentials,
    UpstreamCredentials,
)
from blocks.secret_values import value_of
from deployments.environment import require_server
from tasks.clients.brain import get_indexed_brain
from tasks.clients.embedding import get_embedding_settings
from tasks.clients.metering import get_breakers, get_limiter, get_spending
from tasks.clients.reasoning import get_reasoner
from tasks.clients.store import get_store
from tasks.session import current_session, load_block, read_block

PING_OUTSIDE_EVERY_S: Final = 15.0
"""From one ping of what is not ours to the next, seconds: anybody may ask `/health/ready`."""

READ_SECRETS_EVERY_S: Final = 30.0
"""From one reading of what callers are checked with to the next, seconds, while somebody calls."""

REDIS_URL: Final = "REDIS_URL"

PROVIDERS: Final = ("openai", "ollama", "openrouter", "anthropic")
"""Providers over a network."""

_OUTAGES: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError)
"""What Prefect's client raises while its server cannot be reached, or refuses us."""

T = TypeVar("T")
BlockT = TypeVar("BlockT", bound=Block)


def gather_parts() -> ServiceParts:
    """Return the parts as blocks and settings have them, inside `open_session`.

    What callers are checked with is read again now and then, so that a secret that was changed
    holds without a restart; what the service itself signs in with is read once.
    """
    credentials, brain = _followed(ServiceCredentials), _followed(BrainCredentials)
    orchestrator: Part[Orchestrator] = _part(_open_prefect)

    async def build_brain() -> IndexedBrain:
        return await _with_server(lambda: get_indexed_brain(draws_edges=False))

    return ServiceParts(
        store=_part(get_store),
        orchestrator=orchestrator,
        keys=_derived(credentials, _open_keys),
        hook_secret=_derived(credentials, _read_hook_secret),
        brain_key=_derived(brain, _read_brain_key),
        metrics_token=_derived(credentials, _read_metrics_token),
        tasks_key=_derived(credentials, _read_tasks_key),
        check_callback=_derived(_followed(EventCredentials), _read_callback_check),
        metrics=_part(_build_metrics),
        reasoner=_part(get_reasoner),
        build_brain=build_brain,
        open_content=_make_content_opener(),
        read_readings=_make_reader(),
        pings=tuple(_list_pings(orchestrator)),
    )


def _part(
    open_it: Callable[[], Coroutine[Any, Any, T]], *, renew_after_s: float | None = None
) -> Part[T]:
    """Return a part that needs a Prefect server, since that has the blocks."""
    return Part(
        lambda: _with_server(open_it), retry_after_s=RETRY_AFTER_S, renew_after_s=renew_after_s
    )


async def _with_server(open_it: Callable[[], Awaitable[T]]) -> T:
    """Open something that a Prefect server is asked for, which may be away."""
    require_server()
    try:
        return await open_it()
    except _OUTAGES as outage:
        raise Unavailable("prefect", type(outage).__name__) from outage


def _block(block_type: type[BlockT]) -> Part[BlockT]:
    async def load() -> BlockT:
        return await load_block(block_type)

    return _part(load)


def _followed(block_type: type[BlockT]) -> Part[BlockT]:
    """Return a block, as it was a while ago at most."""

    async def read() -> BlockT:
        return await read_block(block_type)

    return _part(read, renew_after_s=READ_SECRETS_EVERY_S)


def _derived(block: Part[BlockT], build: Callable[[BlockT], Awaitable[T]]) -> Part[T]:
    return derive(block, build, retry_after_s=RETRY_AFTER_S)


async def _read_hook_secret(block: ServiceCredentials) -> str:
    return block.get_hook_secret()


async def _read_metrics_token(block: ServiceCredentials) -> str:
    return value_of(block.metrics_token)


async def _read_tasks_key(block: ServiceCredentials) -> str:
    return value_of(block.tasks_api_key)


async def _read_callback_check(block: EventCredentials) -> CheckCallback:
    webhooks = block.get_webhooks()

    def check(address: str) -> None:
        webhooks.check(address)

    return check


async def _read_brain_key(block: BrainCredentials) -> str:
    return block.api_key


async def _open_keys(block: ServiceCredentials) -> VerificationKeys:
    client = block.get_client()
    if isinstance(client, KeyDocument):
        await current_session().clients.open(client)
        return PublishedKeys(client.read)
    return client


async def _open_prefect() -> Orchestrator:
    api = get_current_settings().api
    auth_string = api.auth_string.get_secret_value() if api.auth_string else ""
    key = api.key.get_secret_value() if api.key else ""
    client = PrefectApi(api.url or "", auth_string=auth_string, api_key=key)
    return await current_session().clients.open(client)


async def _build_metrics() -> MetricsPage:
    store = await get_store()
    sources = own_sources(store, await get_breakers(), await get_limiter(), await get_spending())
    reasoning = reasoning_source(History(store).health)
    return MetricsPage(store, {**sources, "reasoning": reasoning, "gpus": gpu_source(read_gpus)})


def _make_content_opener() -> OpenContent:
    store_block = _block(StoreCredentials)

    @contextlib.asynccontextmanager
    async def open_content(project_id: str) -> AsyncGenerator[ContentStore]:
        content = (await store_block.get()).get_content_client(project_id)
        try:
            await content.open()
            yield content
        finally:
            await content.close()

    return open_content


def _make_reader() -> Callable[[], Awaitable[Readings]]:
    breakers, limiter = _part(get_breakers), _part(get_limiter)

    async def read() -> Readings:
        known = await limiter.get()
        limits = {name: await known.usage(name) for name in await known.providers()}
        return Readings(limits, await (await breakers.get()).states())

    return read


def _list_pings(orchestrator: Part[Orchestrator]) -> list[Ping]:
    """Return the pings of what is asked by runs, or by the service now and then."""
    events, upstream = _block(EventCredentials), _part(_open_upstream)
    breakers = _part(get_breakers)
    in_use = derive(_followed(LLMCredentials), _find_providers, retry_after_s=RETRY_AFTER_S)

    async def ping_prefect() -> None:
        await (await orchestrator.get()).ping()

    async def ping_redis() -> None:
        client = (await events.get()).get_client()
        if client is None:
            raise Misconfigured(REDIS_URL, "is not set")
        try:
            await client.ping()
        finally:
            await client.close()

    async def ping_upstream() -> None:
        await (await upstream.get()).pending(1)

    def ping_provider(name: str) -> Callable[[], Awaitable[None]]:
        async def ping() -> None:
            # Asking one may cost; its breaker knows what became of the last calls.
            known = await breakers.get()
            if name not in await in_use.get():
                raise Misconfigured("PROCESSING_MODE", f"and LLM_PROVIDER do not use {name}")
            await known.check(name)

        return ping

    outside = {
        "prefect": ping_prefect,
        "redis": ping_redis,
        "upstream": ping_upstream,
        **{f"provider {name}": ping_provider(name) for name in PROVIDERS},
    }
    return [
        Ping(name, spaced(send, PING_OUTSIDE_EVERY_S), is_needed=False)
        for name, send in outside.items()
    ]


async def _open_upstream() -> HttpUpstream:
    block = await load_block(UpstreamCredentials)
    if not block.has_upstream:
        raise Misconfigured("API_BASE_URL", "is `none`: no upstream is polled")
    return await current_session().clients.open(block.get_client())


async def _find_providers(chat: LLMCredentials) -> frozenset[str]:
    """Return the remote providers that embed or chat."""
    mode = (await get_embedding_settings()).processing_mode
    embedding = ("ollama", "openai") if mode == "hybrid" else (mode,)
    return frozenset(PROVIDERS) & {*embedding, chat.choice}
