"""The account at the provider of chat models."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.errors import Misconfigured
from aletheia.llm.calls import Guard, unguarded
from aletheia.settings import IntakeSettings, LLMProvider, LLMSettings
from blocks.openai_account import PLACEHOLDER
from blocks.secret_values import value_of

if TYPE_CHECKING:
    from aletheia.adapters.openai.chat import OpenAIChat

ANTHROPIC_URL: Final = "https://api.anthropic.com/v1"
"""Where Anthropic speaks OpenAI's chat API: https://docs.claude.com/en/api/openai-sdk."""

Choice: TypeAlias = Literal[LLMProvider, "mock"]


class LLMCredentials(CredentialsBlock):
    """The account at OpenRouter, OpenAI, Anthropic, or a server that speaks OpenAI's chat API."""

    _block_type_slug = "aletheia-llm"
    _block_type_name = "Aletheia LLM"

    provider: Choice | None = Field(
        default=None,
        description="Who writes and judges; empty: the first of `openrouter`, `openai` and "
        "`anthropic` that has a key, else `mock`, which marks what it makes up.",
    )
    openrouter_api_key: SecretStr | None = Field(
        default=None,
        description="Key of the account at OpenRouter; a server that asks for none takes any.",
    )
    base_url: str = Field(
        default="https://openrouter.ai/api/v1",
        description="Root of the API with its version, of OpenRouter or of a server like it.",
    )
    openai_api_key: SecretStr | None = Field(
        default=None, description="Key of the account at OpenAI."
    )
    openai_base_url: str = Field(
        default="https://api.openai.com/v1", description="Root of OpenAI's API with its version."
    )
    anthropic_api_key: SecretStr | None = Field(
        default=None, description="Key of the account at Anthropic."
    )

    @property
    def choice(self) -> Choice:
        """The provider that is set, or else the first one with a key."""
        usable: list[Choice] = [name for name, key in self._keys().items() if key]
        usable.append("mock")
        return self.provider or usable[0]

    @property
    def choice_in_words(self) -> str:
        """Who writes and judges, and why."""
        if self.provider is not None:
            return f"{self.choice} writes and judges: LLM_PROVIDER says so"
        if self.choice == "mock":
            return f"a mock writes and judges: none of {', '.join(map(_name_key, self._keys()))}"
        return f"{self.choice} writes and judges: {_name_key(self.choice)} is set"

    def get_client(self, *, guard: Guard = unguarded) -> "OpenAIChat":
        """Build a client of the provider, which is not the mock; `guard` guards every request.

        The caller opens and closes it.
        """
        from aletheia.adapters.openai.chat import OpenAIChat  # noqa: PLC0415 - slow to import
        from aletheia.adapters.openai.wire import Api  # noqa: PLC0415 - slow to import

        if not self.key:
            reason = "is not set; set it and run `aletheia setup`"
            raise Misconfigured(_name_key(self.choice), reason)
        api = Api(self.choice, self.key, self.url, timeout_s=LLMSettings().llm_timeout)
        return OpenAIChat(api, concurrency=IntakeSettings().concurrency_limit, guard=guard)

    @property
    def url(self) -> str:
        """Root of the provider's API."""
        others = {"openai": self.openai_base_url, "anthropic": ANTHROPIC_URL}
        return others.get(self.choice, self.base_url)

    @property
    def key(self) -> str:
        """The provider's key; empty for the mock."""
        return self._keys().get(self.choice, "")

    def _keys(self) -> Mapping[Choice, str]:
        """Return keys by provider, in the order in which they are chosen."""
        keys: dict[Choice, SecretStr | None] = {
            "openrouter": self.openrouter_api_key,
            "openai": self.openai_api_key,
            "anthropic": self.anthropic_api_key,
        }
        values: dict[Choice, str] = {name: value_of(key) for name, key in keys.items()}
        return {name: "" if value == PLACEHOLDER else value for name, value in values.items()}


def _name_key(provider: str) -> str:
    return f"{provider.upper()}_API_KEY"
