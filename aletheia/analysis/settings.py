"""How task types are computed, and what waits in lanes (SPEC §1, Lanes; §3)."""

from typing import Literal

from pydantic import Field

from aletheia.settings import MaxTextBytes, Settings, TaskTimeout


class WorkerSettings(Settings):
    """How tasks are computed, and how many wait in lanes."""

    task_timeout: TaskTimeout = 300
    max_text_bytes: MaxTextBytes = 1_000_000
    worker_llm_model: str | None = Field(
        default=None, description="Model that computes tasks; empty: DEFAULT_LLM_MODEL."
    )
    sentiment_engine: Literal["local", "llm"] = Field(
        default="local",
        description="What judges the sentiment of texts: `local` (a lexicon and the embeddings "
        "that are there already; English), or `llm` (a chat model, in lane `llm`; any language).",
    )
    lane_max_waiting: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Tasks that shifts hand over to one lane before further ones stay pending.",
    )
    lane_media_concurrency: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Tasks of lane `media` that a worker computes at once.",
    )
    lane_llm_concurrency: int = Field(
        default=5, ge=1, le=256, description="Tasks of lane `llm` that a worker computes at once."
    )
    lane_poll_seconds: float = Field(
        default=1,
        ge=0.05,
        le=60,
        description="From one poll of an empty lane to the next, seconds.",
    )
