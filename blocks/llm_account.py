"""The account at OpenRouter, or at a server that speaks OpenAI's chat API."""

from typing import TYPE_CHECKING

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.errors import Misconfigured
from aletheia.llm.calls import Guard, unguarded
from aletheia.settings import IntakeSettings, LLMSettings

if TYPE_CHECKING:
    from aletheia.adapters.openai.chat import OpenAIChat


class LLMCredentials(CredentialsBlock):
    """The account at OpenRouter, or at a server that speaks OpenAI's chat API."""

    _block_type_slug = "aletheia-llm"
    _block_type_name = "Aletheia LLM"
    _description = "The account at OpenRouter, or at a server that speaks OpenAI's chat API."

    openrouter_api_key: SecretStr | None = Field(
        default=None,
        description="Key of the account; a server that asks for none takes any. Without one a mock "
        "writes, which marks what it makes up.",
    )
    base_url: str = Field(
        default="https://openrouter.ai/api/v1",
        description="Root of the API with its version, of OpenRouter or of a server like it.",
    )

    @property
    def has_key(self) -> bool:
        """Whether there is a key."""
        return bool(self._key())

    def get_client(self, *, guard: Guard = unguarded) -> "OpenAIChat":
        """Build a client; the caller opens and closes it.

        Args:
            guard: guards every request.

        Raises:
            Misconfigured: there is no key, or it cannot be sent, or the address is none.
        """
        from aletheia.adapters.openai.chat import OpenAIChat  # noqa: PLC0415 - slow to import

        if not self.has_key:
            raise Misconfigured("OPENROUTER_API_KEY", "is not set; set it and run `aletheia setup`")
        return OpenAIChat(
            self._key(),
            base_url=self.base_url,
            timeout_s=LLMSettings().llm_timeout,
            concurrency=IntakeSettings().concurrency_limit,
            guard=guard,
        )

    def _key(self) -> str:
        key = self.openrouter_api_key
        return "" if key is None else key.get_secret_value().strip()
