"""What the service checks its callers with."""

from typing import TYPE_CHECKING, Final

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.adapters.jwks import ADDRESS, KeyDocument
from aletheia.errors import Misconfigured
from aletheia.service.settings import ServiceSettings
from blocks.secret_values import value_of

if TYPE_CHECKING:
    from aletheia.service.keys import SecretKey

TOKEN_SECRET: Final = "AUTH_JWT_SECRET"  # noqa: S105 - the name of a setting
HOOK_SECRET: Final = "WEBHOOK_IN_SECRET"  # noqa: S105 - the name of a setting
"""The settings that errors point to."""

MIN_HOOK_SECRET: Final = 16
"""Shortest key of signatures, characters."""


class ServiceCredentials(CredentialsBlock):
    """What the service checks its callers with."""

    _block_type_slug = "aletheia-service"
    _block_type_name = "Aletheia service"

    auth_jwt_secret: SecretStr | None = Field(
        default=None,
        description="Key of tokens (HS256), 32 bytes at least; in place of AUTH_JWKS_URL.",
    )
    webhook_in_secret: SecretStr | None = Field(
        default=None, description="Key of the signatures of webhooks that are sent to the service."
    )
    tasks_api_key: SecretStr | None = Field(
        default=None, description="Bearer key by which tasks are pushed; empty: nobody may."
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="Bearer token that `/metrics` asks for; empty: it is open."
    )

    def get_client(self) -> "SecretKey | KeyDocument":
        """Build what tokens are checked with; the caller opens and closes a document."""
        # No flow checks a token, and what does takes a while to import.
        from aletheia.service.keys import SecretKey  # noqa: PLC0415 - see above

        secret, address = value_of(self.auth_jwt_secret), ServiceSettings().auth_jwks_url
        if secret and address:
            raise Misconfigured(TOKEN_SECRET, f"and {ADDRESS} are set; tokens have one issuer")
        if address:
            return KeyDocument(address)
        if not secret:
            raise Misconfigured(TOKEN_SECRET, f"and {ADDRESS} are not set: nobody can sign in")
        return SecretKey(secret)

    def get_hook_secret(self) -> str:
        """Return the key of signatures of webhooks."""
        secret = value_of(self.webhook_in_secret)
        if len(secret) < MIN_HOOK_SECRET:
            raise Misconfigured(HOOK_SECRET, f"has to have {MIN_HOOK_SECRET} characters at least")
        return secret
