"""What the processes that read recordings may use (SPEC §3)."""

from typing import Literal, TypeAlias

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


SpeechChoice: TypeAlias = Literal["auto", "whisper", "openai", "pocketsphinx"]


class SpeechSettings(Settings):
    """What transcribes speech."""

    speech_engine: SpeechChoice = Field(
        default="auto",
        description="What transcribes speech: `whisper` (a model here, the extra `speech`), "
        "`openai` (`audio/transcriptions` at OPENAI_BASE_URL), `pocketsphinx`; `auto`: the first "
        "that is there and knows the language.",
    )
    speech_model: str = Field(
        default="tiny.en",
        description="Whisper model, by its size or its name on the hub, in CTranslate2's format; "
        "`tiny.en` comes with the extra `offline`.",
    )
    speech_api_model: str = Field(
        default="whisper-1", description="Model that `audio/transcriptions` is asked for."
    )
    speech_memory_max: int = Field(
        default=6_000_000_000,
        ge=1_000_000_000,
        description="Address space of a process that transcribes speech, bytes.",
    )
    speech_processor_seconds: float = Field(
        default=28_800, gt=0, description="Processor time for one recording's speech, seconds."
    )
    speech_threads: int = Field(
        default=2, ge=1, le=64, description="Threads of a process that transcribes speech."
    )
