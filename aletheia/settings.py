"""How Aletheia behaves: one frozen settings class per area, names as the specification spells them.

Read once at the edge, from the environment and from `.env` in the working directory, and passed
on. Nothing here is a secret: credentials live in Prefect blocks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """An area of settings, read from the environment and from `.env`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_file=".env", env_ignore_empty=True, allow_inf_nan=False
    )


MaxTextBytes: TypeAlias = Annotated[
    int,
    Field(
        ge=1,
        description="Longest text taken, UTF-8 bytes; a longer one fails as `input_too_long`.",
    ),
]
TaskTimeout: TypeAlias = Annotated[
    float,
    Field(
        gt=0,
        le=86_400,
        description="For computing one task, or one forward pass of texts, seconds.",
    ),
]
"""Settings that two areas read."""


class IntakeSettings(Settings):
    """How a poller behaves towards the upstream API and the ledger."""

    poll_limit: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Tasks asked for per page; falls back to 10 where the upstream refuses more.",
    )
    polling_interval_seconds: float = Field(
        default=30, ge=0.1, description="From one tick of a shift to the next, seconds."
    )
    shift_seconds: float = Field(
        default=570, ge=0, description="Length of a shift, seconds; 0 drains once."
    )
    batch_max_tasks: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="Tasks claimed and computed together; empty: 256, and 2048 for a remote "
        "provider.",
    )
    lease_seconds: float = Field(
        default=60, gt=0, description="How long a claim holds without renewal, seconds."
    )
    concurrency_limit: int = Field(
        default=5,
        ge=1,
        le=256,
        description="Provider calls in flight per poller, and separately upstream requests.",
    )
    max_retries: int = Field(
        default=3,
        ge=0,
        le=20,
        description="Further tries after the first, for one HTTP call and for computing one task.",
    )
    request_timeout: float = Field(default=30, gt=0, description="Per HTTP request, seconds.")
    retry_base_seconds: float = Field(
        default=0.5, ge=0, description="First back-off between tries of one HTTP call, seconds."
    )
    report_backoff_seconds: float = Field(
        default=15,
        ge=0,
        description="First back-off of a report that failed after its tries, seconds; doubled up "
        "to 10 minutes.",
    )
    report_dialect: Literal["state", "status"] = Field(
        default="state",
        description="Names of the fields of reports: `state`, `result`, `usage`, `error`; or "
        "`status`, `output_data`, `error_message`.",
    )
    clock_skew_seconds: float = Field(
        default=5, ge=0, description="Difference of clocks that leases tolerate, seconds."
    )
    max_text_bytes: MaxTextBytes = 1_000_000
    result_cache_ttl: float = Field(
        default=1800,
        ge=0,
        description="How long a reported result can still be sent again, seconds.",
    )
    ledger_retention_days: float = Field(
        default=30,
        gt=0,
        description="How long finished rows stay in the ledger, and events and models' answers of "
        "gather runs beside them, days.",
    )

    @property
    def max_entry_bytes(self) -> int:
        """Longest entry of a page that is kept, bytes of JSON."""
        # A text in JSON takes up to six bytes a character, and there are other fields; a
        # document of MongoDB holds 16 MB.
        return min(6 * self.max_text_bytes + 100_000, 12_000_000)


ProcessingMode: TypeAlias = Literal["local", "openai", "ollama", "hybrid", "mock"]
"""Which provider computes (SPEC §2)."""

DEFAULT_MODELS: Final[Mapping[ProcessingMode, str]] = {
    "local": "sentence-transformers/all-MiniLM-L6-v2",
    "openai": "text-embedding-3-small",
    "ollama": "nomic-embed-text",
    "hybrid": "nomic-embed-text",
    "mock": "sentence-transformers/all-MiniLM-L6-v2",
}
"""What embeds where neither the task nor `DEFAULT_EMBEDDING_MODEL` names a model."""

LOCAL_BATCH_TASKS: Final = 256
REMOTE_BATCH_TASKS: Final = 2048
"""`BATCH_MAX_TASKS` where it is not set (SPEC §1, Pages and batches)."""


class EmbeddingSettings(Settings):
    """Which provider embeds, with which model."""

    environment: Literal["development", "staging", "production"] = Field(
        default="development", description="`production` refuses the mock."
    )
    processing_mode: ProcessingMode = Field(
        default="local",
        description="Which provider embeds texts; `hybrid` asks Ollama first, and OpenAI while "
        "Ollama is down. Empty: `openai` where OPENAI_API_KEY is set, `mock` where that is the "
        "placeholder, else `local`.",
    )
    default_embedding_model: str | None = Field(
        default=None,
        description="Model for tasks that name none; empty: "
        "`sentence-transformers/all-MiniLM-L6-v2` (local), `text-embedding-3-small` (openai), "
        "`nomic-embed-text` (ollama, hybrid).",
    )
    supported_models: tuple[str, ...] = Field(
        default=(),
        description="JSON list of further models that tasks may name; `openai` takes any.",
    )
    hybrid_model_map: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="JSON object from a model at Ollama to the one at OpenAI that may stand in for "
        'it, such as `{"nomic-embed-text":"text-embedding-3-small"}`.',
    )
    embedding_dimensions: int | None = Field(
        default=None,
        ge=1,
        le=16_384,
        description="Length to ask of a remote model's vectors; empty: what the model gives.",
    )
    embedding_max_inputs: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="Texts in a request to a remote provider, at most; empty: as many as it takes.",
    )
    long_text: Literal["truncate", "chunk", "fail"] | None = Field(
        default=None,
        description="What happens to a text longer than the model reads; empty: `truncate`, and "
        "`fail` at OpenAI.",
    )
    local_model_dir: Path | None = Field(
        default=None, description="Directory with a model's files, or with one directory a model."
    )
    local_model_processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that each load the model; 0 takes one per core, at most 4.",
    )
    local_batch_size: int = Field(
        default=16, ge=1, le=1024, description="Texts in one forward pass."
    )
    model_load_timeout: float = Field(
        default=60, gt=0, description="For loading a local model into one process, seconds."
    )
    model_memory_max: int = Field(
        default=0,
        ge=0,
        description="What models may take in memory per provider, in all processes together and "
        "beside the libraries, before the least recently used one is unloaded, bytes; 0: no "
        "bound.",
    )
    task_timeout: TaskTimeout = 300

    def choose_mode(self, *, has_openai_key: bool, is_placeholder: bool) -> "EmbeddingSettings":
        """Return the settings with the mode that is meant where none is set (SPEC §2)."""
        if "processing_mode" in self.model_fields_set:
            return self
        mode = "mock" if is_placeholder else "openai" if has_openai_key else "local"
        return self.model_copy(update={"processing_mode": mode})

    @property
    def default_model(self) -> str:
        """The model for tasks that name none."""
        return self.default_embedding_model or DEFAULT_MODELS[self.processing_mode]

    @property
    def is_remote(self) -> bool:
        """Whether texts are sent to a provider behind an HTTP API."""
        return self.processing_mode in {"openai", "ollama", "hybrid"}


class OpenAISettings(Settings):
    """How OpenAI, or a server that speaks its API, is asked."""

    openai_timeout: float = Field(default=60, gt=0, description="Per request, seconds.")


class OllamaSettings(Settings):
    """Where Ollama is and how it is asked."""

    ollama_base_url: str = Field(
        default="http://localhost:11434", description="Root of Ollama's API, without /api."
    )
    ollama_timeout: float = Field(default=120, gt=0, description="Per request, seconds.")
    ollama_model_download_timeout: float = Field(
        default=600, gt=0, description="For the download of one model, seconds."
    )
    ollama_concurrency: int = Field(
        default=1, ge=1, le=64, description="Requests for embeddings in flight."
    )


class StoreSettings(Settings):
    """Where the embedded store keeps its files."""

    aletheia_data_dir: Path = Field(
        default=Path(".aletheia"), description="Directory of the embedded store, on a local disk."
    )


class LogSettings(Settings):
    """What is logged."""

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)
    ] = Field(default="INFO", description="Least severe level that is logged, in either case.")
    log_format: Literal["json", "text"] = Field(
        default="json", description="How runs and the service write their lines."
    )


class RateLimitSettings(Settings):
    """How much `openai` and `ollama` are asked, each; `local` and `mock` are not limited."""

    rate_limit_enabled: bool = Field(
        default=True, description="Whether calls to `openai` and `ollama` are limited."
    )
    rate_limit_per_minute: int = Field(default=20, ge=1, description="Per provider, at most.")
    rate_limit_per_hour: int = Field(default=100, ge=1, description="Per provider, at most.")
    rate_limit_per_day: int = Field(default=500, ge=1, description="Per provider, at most.")
    rate_limit_per_week: int = Field(default=2000, ge=1, description="Per provider, at most.")
    rate_limit_per_month: int = Field(default=7500, ge=1, description="Per provider, at most.")
    rate_limit_strategy: Literal["rolling", "fixed"] = Field(
        default="rolling",
        description="Windows that end now (week 7 days, month 30), or those of the UTC calendar.",
    )
    rate_limit_unit: Literal["request", "task"] = Field(
        default="request", description="What is counted: requests sent, or the texts in them."
    )


class BreakerSettings(Settings):
    """When a dependency that fails is left alone for a while."""

    circuit_breaker_threshold: int = Field(
        default=5, ge=1, description="Failures in a row, over all processes, that open a breaker."
    )
    circuit_breaker_cooldown_seconds: float = Field(
        default=60, gt=0, description="How long it stays open before one call tries, seconds."
    )


class BudgetSettings(Settings):
    """How much may be spent on remote providers."""

    budget_usd_per_day: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="Per UTC day; empty: no bound. USD."
    )
    budget_usd_per_run: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Per shift or gather run, with its retries and resumes; empty: no bound. USD.",
    )
    budget_tokens_per_day: int | None = Field(
        default=None, ge=0, description="Tokens in and out per UTC day; empty: no bound."
    )
    budget_tokens_per_run: int | None = Field(
        default=None, ge=0, description="Tokens in and out per run; empty: no bound."
    )
    price_table: Path | None = Field(
        default=None,
        description="JSON file of prices that are laid over the ones that come with Aletheia.",
    )
    unknown_model_price: Literal["dearest", "free", "refuse"] = Field(
        default="dearest",
        description="What a model without a price counts as: the dearest of its provider, nothing, "
        "or an error.",
    )


class BulkSettings(Settings):
    """When and how large backlogs are sent as batches."""

    openai_bulk_above: int | None = Field(
        default=None,
        ge=0,
        description="Pending texts above which `bulk_embed` sends a batch; empty: never.",
    )
    openai_bulk_poll_seconds: float = Field(
        default=60,
        ge=0,
        description="From one poll of a batch under way to the next, seconds.",
    )


LLMProvider: TypeAlias = Literal["openrouter", "openai", "anthropic"]

DEFAULT_LLM_MODELS: Final[Mapping[LLMProvider, str]] = {
    "openrouter": "anthropic/claude-sonnet-4.5",
    "openai": "gpt-4.1-mini",
    "anthropic": "claude-sonnet-4-5",
}
"""What writes and judges where `DEFAULT_LLM_MODEL` names no model."""


class LLMSettings(Settings):
    """Which chat model writes and judges."""

    default_llm_model: str | None = Field(
        default=None,
        description="Model that judges, and that writes for departments that name none or one "
        "that does not exist; empty: `anthropic/claude-sonnet-4.5` (openrouter), `gpt-4.1-mini` "
        "(openai), `claude-sonnet-4-5` (anthropic).",
    )
    llm_timeout: float = Field(default=60, gt=0, description="Per request, seconds.")


class GatherSettings(Settings):
    """How departments are filled."""

    gather_batch_items: int = Field(
        default=8, ge=5, le=10, description="Items asked for in one iteration."
    )
    guarded_pairs: Literal["keep", "judge"] = Field(
        default="judge",
        description="Items that align but for few words, or differ in a number, a unit, a date, a "
        "name, a negation …: left to a judge, or kept without asking. Without a judge they are "
        "kept.",
    )
    gather_retry_base_seconds: float = Field(
        default=60,
        ge=0,
        description="Longest first pause before a failed gather run is tried again, seconds; "
        "doubled with each retry up to 10 minutes.",
    )


class BrainSettings(Settings):
    """How the Brain is asked."""

    brain_timeout: float = Field(
        default=30,
        gt=0,
        description="Per request to a Brain service, and per query of Neo4j, seconds.",
    )


class EventSettings(Settings):
    """Where events of gather runs may be sent."""

    webhook_allowed_hosts: str = Field(
        default="",
        description="Hosts, with commas between them, that a webhook may have although they are "
        "private or speak plain http.",
    )

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The hosts that are allowed by name."""
        hosts = (host.strip() for host in self.webhook_allowed_hosts.split(","))
        return tuple(host for host in hosts if host)
