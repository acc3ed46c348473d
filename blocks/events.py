"""Where events of gather runs are sent, and how they are signed."""

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.adapters.events.redis import RedisEvents
from aletheia.adapters.events.webhook import Webhooks
from aletheia.settings import EventSettings
from blocks.secret_values import value_of


class EventCredentials(CredentialsBlock):
    """Where events of gather runs are sent, and how they are signed."""

    _block_type_slug = "aletheia-events"
    _block_type_name = "Aletheia events"

    redis_url: SecretStr | None = Field(
        default=None, description="Address of Redis; without one nothing is published there."
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="Key of the signatures of webhooks, which need one."
    )

    def get_client(self) -> RedisEvents | None:
        """Build what publishes on Redis, if there is one; the caller closes it."""
        url = value_of(self.redis_url)
        return RedisEvents(url) if url else None

    def get_webhooks(self) -> Webhooks:
        """Build what posts to webhooks; the caller opens and closes it."""
        secret = value_of(self.webhook_secret)
        return Webhooks(secret, allowed_hosts=EventSettings().allowed_hosts)
