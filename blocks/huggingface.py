"""The account at the hub that models come from."""

from typing import TYPE_CHECKING

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.analysis.model_settings import ModelSettings
from blocks.secret_values import value_of

if TYPE_CHECKING:
    from aletheia.adapters.local.hub import HuggingFaceHub


class HuggingFaceCredentials(CredentialsBlock):
    """The account at the Hugging Face hub, which gated models ask for."""

    _block_type_slug = "aletheia-huggingface"
    _block_type_name = "Aletheia Hugging Face"

    token: SecretStr | None = Field(
        default=None,
        description="Token that may read gated models; none is needed for open ones.",
    )

    def get_client(self, kind: "type[HuggingFaceHub] | None" = None) -> "HuggingFaceHub":
        """Build a client of the hub, of `kind` where other files are wanted; nothing is open."""
        from aletheia.adapters.local.hub import HuggingFaceHub  # noqa: PLC0415 - slow to import

        settings = ModelSettings()
        return (kind or HuggingFaceHub)(
            cache_dir=settings.model_cache_dir,
            token=value_of(self.token) or None,
            max_bytes=settings.max_model_size,
        )
