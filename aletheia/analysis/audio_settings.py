"""What the processes that read recordings may use (SPEC §3)."""

from pydantic import Field

from aletheia.settings import Settings


class AudioSettings(Settings):
    """How recordings are read and measured."""

    max_audio_seconds: float = Field(
        default=14_400, ge=1, le=86_400, description="Longest recording taken, seconds it plays."
    )
    audio_memory_max: int = Field(
        default=1_500_000_000,
        ge=500_000_000,
        description="Address space of a process that reads recordings, bytes.",
    )
    audio_processor_seconds: float = Field(
        default=1800, gt=0, description="Processor time for measuring one recording, seconds."
    )
