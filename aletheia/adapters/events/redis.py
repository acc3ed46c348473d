"""Publishes gather events on Redis (SPEC §4, Events).

See https://redis.io/docs/latest/develop/pubsub/: a message reaches those who listen at that
moment, so one that nobody hears is sent all the same. Who was away reads the kept log.
"""

from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from typing import Final, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from aletheia.errors import Misconfigured, Unavailable
from aletheia.events.log import SavedEvent
from aletheia.events.ports import REDIS
from aletheia.store.project_id import check_project_id

ADDRESS: Final = "REDIS_URL"
"""The setting that errors point to."""


def name_channel(project_id: str) -> str:
    """Return the channel of a project's events."""
    return f"automated-gather:{check_project_id(project_id)}"


class RedisEvents:
    """Publishes events, each on its project's channel.

    `timeout_s` bounds connecting, and each exchange after that, seconds. An address that cannot be
    right is `Misconfigured`, as is a server that refuses our credentials; one that is out of reach,
    or too slow, is `Unavailable`.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        try:
            # Whoever feeds it tries again, in its own time.
            self._client = redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part
                url.strip(),
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
            self._client.connection_pool.make_connection()  # fails on options that do not exist
        except (ValueError, TypeError):
            # The library's words repeat the address, which may hold the password.
            reason = "must begin with redis://, rediss:// or unix:// and name a server"
            raise Misconfigured(ADDRESS, reason) from None

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._client.aclose()

    async def send(self, address: str, event: SavedEvent) -> None:
        """Publish one event; there is one Redis, so that nothing depends on the address."""
        del address
        channel = name_channel(event.project_id)
        with _translating():
            await self._client.publish(  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part
                channel, event.body
            )

    async def ping(self) -> None:
        """Check that the server answers."""
        with _translating():
            await cast("Awaitable[object]", self._client.ping())  # pyright: ignore[reportUnknownMemberType] - redis-py types it in part


@contextmanager
def _translating() -> Generator[None]:
    try:
        yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        reason = f"the server refuses the credentials in it: {type(error).__name__}"
        raise Misconfigured(ADDRESS, reason) from None
    except (RedisError, OSError) as error:
        raise Unavailable(REDIS, f"{type(error).__name__}: {error}"[:200]) from None
