"""How local models are kept and run (SPEC §3, Model manager)."""

from pathlib import Path
from typing import Final, Literal, TypeAlias

from pydantic import Field

from aletheia.settings import Settings

DEFAULT_MAX_MODEL_BYTES: Final = 5_000_000_000
"""`MAX_MODEL_SIZE` where it is not set (SPEC §3)."""

Precision: TypeAlias = Literal["float32", "int8"]
Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]


class ModelSettings(Settings):
    """Where models are kept, how large they may be, and how they run."""

    model_cache_dir: Path | None = Field(
        default=None,
        description="Directory that models are downloaded into; empty: that of the hub's library.",
    )
    max_model_size: int = Field(
        default=DEFAULT_MAX_MODEL_BYTES, ge=1, description="Largest model downloaded, bytes."
    )
    local_model_precision: Precision = Field(
        default="float32",
        description="Numbers that local embedding models compute with. `int8` is faster and takes "
        "less memory; its vectors are others, named `MODEL:int8`, and what it loses is measured "
        "whenever a model is loaded.",
    )
    local_model_device: Device = Field(
        default="auto",
        description="What local embedding models run on. `auto`: a graphics processor where there "
        "is one, the one with the most free memory; the processor for `int8`, or where there is "
        "none.",
    )

    def name_vectors(self, model: str) -> str:
        """Name the vectors that a local model gives: those of `int8` are not its own."""
        return model if self.local_model_precision == "float32" else f"{model}:int8"
