"""The application that has the departments."""

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.adapters.payload_cms import ADDRESS, PayloadDepartments
from aletheia.errors import Misconfigured
from aletheia.settings import IntakeSettings
from blocks.secret_values import value_of


class PayloadCredentials(CredentialsBlock):
    """The application on Payload CMS that has the departments."""

    _block_type_slug = "aletheia-payload"
    _block_type_name = "Aletheia Payload CMS"

    base_url: str | None = Field(
        default=None, description="Root of the application, without /api; needed for gathering."
    )
    api_key: SecretStr | None = Field(
        default=None, description="Key of a document in a collection with API keys."
    )
    collection: str = Field(default="users", description="Slug of that collection.")

    def get_client(self) -> PayloadDepartments:
        """Build a client; the caller opens and closes it."""
        if not self.base_url:
            reason = "is needed for gathering; set it and run `aletheia setup`"
            raise Misconfigured(ADDRESS, reason)
        settings = IntakeSettings()
        return PayloadDepartments(
            self.base_url,
            api_key=value_of(self.api_key) or None,
            collection=self.collection,
            timeout_s=settings.request_timeout,
            max_retries=settings.max_retries,
            retry_base_s=settings.retry_base_seconds,
        )
