"""What sends events: Prefect, Redis and webhooks."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from prefect.blocks.system import Secret

from aletheia.adapters.events.named_webhooks import NamedWebhooks
from aletheia.adapters.events.redis import RedisEvents
from aletheia.adapters.events.webhook import Webhooks
from aletheia.errors import Misconfigured
from aletheia.events.ports import REDIS, WEBHOOK, EventSink
from aletheia.system_events import Announcer
from blocks import EventCredentials
from tasks.clients.prefect_events import PREFECT, PrefectEvents
from tasks.clients.store import get_store
from tasks.session import current_session, load_block, once


async def get_event_sinks(webhook_url: str | None) -> dict[str, EventSink]:
    """Return what sends events, by kind: Prefect, Redis where there is one, webhooks where named.

    Raises:
        InvalidTask: `invalid_webhook_url`.
        Misconfigured: it names a block that is not there.
    """
    sinks: dict[str, EventSink] = {PREFECT: await _get_prefect_events()}
    if (redis := await _get_redis_events()) is not None:
        sinks[REDIS] = redis
    if webhook_url:
        webhooks = await _get_named_webhooks()
        await webhooks.check(webhook_url)
        sinks[WEBHOOK] = webhooks
    return sinks


async def get_event_sink(kind: str) -> EventSink:
    """Return what sends events to receivers of a kind. Raises `Misconfigured`: it is not set up."""
    sink = await SINKS[kind]()
    if sink is None:
        raise Misconfigured("REDIS_URL", "is not set")
    return sink


@once
async def _get_prefect_events() -> PrefectEvents:
    return current_session().clients.close_later(PrefectEvents())


@once
async def get_announcer() -> Announcer:
    """Return what sends events about the system to Prefect, each once."""
    announcer = Announcer(await get_store(), await _get_prefect_events())
    await announcer.prepare()
    return announcer


@once
async def _get_redis_events() -> RedisEvents | None:
    client = (await load_block(EventCredentials)).get_client()
    return None if client is None else current_session().clients.close_later(client)


@once
async def get_webhooks() -> Webhooks:
    """Return what posts to webhooks, signed. Raises `Misconfigured`: there is no secret."""
    block = await load_block(EventCredentials)
    return await current_session().clients.open(block.get_webhooks())


@once
async def _get_named_webhooks() -> NamedWebhooks:
    return NamedWebhooks(await get_webhooks(), _read_secret_block)


async def _read_secret_block(name: str) -> str:
    """Return the text that a block of Prefect's type `Secret` holds."""
    where = f"block secret/{name}"
    try:
        block = await cast("Any", Secret).aload(name)
    except ValueError:
        raise Misconfigured(where, "is not saved; make one in Prefect") from None
    found: object = block.get()
    if not isinstance(found, str):
        raise Misconfigured(where, "does not hold a text")
    return found


SINKS: Final[Mapping[str, Callable[[], Awaitable[EventSink | None]]]] = {
    PREFECT: _get_prefect_events,
    REDIS: _get_redis_events,
    WEBHOOK: _get_named_webhooks,
}
"""What sends events, by the kind of their receivers; `None` where it is not set up."""
