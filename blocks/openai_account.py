"""The account at OpenAI, or at a server that speaks its API."""

from typing import TYPE_CHECKING, Final

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.errors import Misconfigured
from aletheia.llm.calls import Guard, unguarded
from aletheia.settings import DEFAULT_MODELS, EmbeddingSettings, IntakeSettings, OpenAISettings
from blocks.secret_values import value_of

if TYPE_CHECKING:
    from aletheia.adapters.audio.cutter import ChildCutter
    from aletheia.adapters.embedding.input_limits import InputLimits
    from aletheia.adapters.openai.batches import OpenAIBatches
    from aletheia.adapters.openai.embedder import OpenAIEmbedder
    from aletheia.adapters.openai.transcriber import OpenAITranscriber
    from aletheia.adapters.openai.wire import Api
    from aletheia.resilience.breaker import CircuitBreaker

PLACEHOLDER: Final = "your_openai_api_key_here"
"""What examples have in place of a key; no account has it (SPEC §2)."""


class OpenAICredentials(CredentialsBlock):
    """The account at OpenAI, or at a server that speaks its API."""

    _block_type_slug = "aletheia-openai"
    _block_type_name = "Aletheia OpenAI"

    api_key: SecretStr | None = Field(
        default=None,
        description="Key of the account; a server that asks for none takes any. The placeholder "
        f"`{PLACEHOLDER}` means the mock in `openai` mode, and no OpenAI in `hybrid`.",
    )
    base_url: str = Field(
        default="https://api.openai.com/v1",
        description="Root of the API with its version, of OpenAI or of a server that speaks it.",
    )

    @property
    def is_placeholder(self) -> bool:
        """Whether the key is the one that examples have."""
        return value_of(self.api_key) == PLACEHOLDER

    @property
    def has_key(self) -> bool:
        """Whether there is a key that may open something."""
        return bool(value_of(self.api_key)) and not self.is_placeholder

    def choose_mode(self) -> tuple[EmbeddingSettings, str]:
        """Return the settings with the mode that embeds, and why it does (SPEC §2)."""
        settings = EmbeddingSettings()
        if "processing_mode" in settings.model_fields_set:
            return settings, "PROCESSING_MODE says so"
        chosen = settings.choose_mode(
            has_openai_key=self.has_key, is_placeholder=self.is_placeholder
        )
        key = "the placeholder" if self.is_placeholder else "set" if self.has_key else "not set"
        return chosen, f"PROCESSING_MODE is not set, and OPENAI_API_KEY is {key}"

    def get_client(
        self, *, guard: Guard = unguarded, limits: "InputLimits | None" = None
    ) -> "OpenAIEmbedder":
        """Build an embedder; the caller opens and closes it.

        `guard` guards every request, which has as many texts as `limits` says, by default OpenAI's.
        """
        from aletheia.adapters.embedding.remote import EmbedderPlan  # noqa: PLC0415 - slow to import
        from aletheia.adapters.openai.embedder import (  # noqa: PLC0415 - slow to import
            OpenAIEmbedder,
        )

        api = self._build_api("for PROCESSING_MODE=openai")
        settings, _ = self.choose_mode()
        plan = EmbedderPlan(
            default_model=settings.default_model
            if settings.processing_mode == "openai"
            else DEFAULT_MODELS["openai"],
            dimensions=settings.embedding_dimensions,
            long_text=settings.long_text or "fail",
            concurrency=IntakeSettings().concurrency_limit,
            guard=guard,
            limits=limits,
        )
        return OpenAIEmbedder(api, plan)

    def get_batches(self, breakers: "CircuitBreaker") -> "OpenAIBatches":
        """Build a client of the Batch API behind a breaker; the caller opens and closes it."""
        from aletheia.adapters.embedding.remote import EmbedderPlan  # noqa: PLC0415 - slow to import
        from aletheia.adapters.openai.batches import OpenAIBatches  # noqa: PLC0415 - slow to import

        api = self._build_api("to send batches")
        settings, _ = self.choose_mode()
        plan = EmbedderPlan(settings.default_model, settings.embedding_dimensions)
        return OpenAIBatches(api, plan, breakers=breakers)

    def get_transcriber(
        self, cutter: "ChildCutter", *, model: str, guard: Guard = unguarded
    ) -> "OpenAITranscriber":
        """Build what transcribes speech by a model; the caller opens and closes it."""
        from aletheia.adapters.openai.transcriber import (  # noqa: PLC0415 - slow to import
            OpenAITranscriber,
        )

        timeout_s = OpenAISettings().openai_timeout
        api = self._build_api("for SPEECH_ENGINE=openai")
        return OpenAITranscriber(api, cutter, model=model, timeout_s=timeout_s, guard=guard)

    def _build_api(self, purpose: str) -> "Api":
        from aletheia.adapters.openai.wire import Api  # noqa: PLC0415 - slow to import

        if not self.has_key:
            raise Misconfigured(
                "OPENAI_API_KEY",
                f"is needed {purpose}; set it and run `aletheia setup`. A server that asks for no "
                "key takes any",
            )
        key, timeout_s = value_of(self.api_key), OpenAISettings().openai_timeout
        return Api("openai", key, self.base_url, timeout_s=timeout_s)
