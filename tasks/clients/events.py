"""What sends events: Prefect, Redis and webhooks."""

from aletheia.adapters.events.redis import RedisEvents
from aletheia.adapters.events.webhook import Webhooks
from aletheia.errors import Misconfigured
from aletheia.events.ports import REDIS, WEBHOOK, EventSink
from blocks import EventCredentials
from tasks.clients.blocks import load_block
from tasks.prefect_events import PREFECT, PrefectEvents
from tasks.session import current_session


async def get_event_sinks(webhook_url: str | None) -> dict[str, EventSink]:
    """Return what sends events, by kind: Prefect, Redis where there is one, webhooks where named.

    Raises:
        InvalidTask: `invalid_webhook_url`.
    """
    sinks: dict[str, EventSink] = {PREFECT: await get_prefect_events()}
    if (redis := await get_redis_events()) is not None:
        sinks[REDIS] = redis
    if webhook_url:
        webhooks = await get_webhooks()
        webhooks.check(webhook_url)
        sinks[WEBHOOK] = webhooks
    return sinks


async def get_event_sink(kind: str) -> EventSink:
    """Return what sends events to receivers of a kind. Raises `Misconfigured`: it is not set up."""
    if kind == PREFECT:
        return await get_prefect_events()
    if kind != REDIS:
        return await get_webhooks()
    redis = await get_redis_events()
    if redis is None:
        raise Misconfigured("REDIS_URL", "is not set")
    return redis


async def get_prefect_events() -> PrefectEvents:
    """Return what sends events to Prefect."""
    return await current_session().clients.open(("prefect events",), PrefectEvents)


async def get_redis_events() -> RedisEvents | None:
    """Return what publishes events on Redis, if there is one."""
    clients, loaded = current_session().clients, await load_block(EventCredentials)

    async def build() -> RedisEvents | None:
        client = loaded.block.get_client()
        return None if client is None else clients.close_later(client)

    return await clients.build(("redis events", *loaded.key), build)


async def get_webhooks() -> Webhooks:
    """Return what posts events to webhooks."""
    loaded = await load_block(EventCredentials)
    key = ("webhooks", *loaded.key)
    return await current_session().clients.open(key, loaded.block.get_webhooks)
