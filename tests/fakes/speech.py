"""Speech whose words are known, and an engine that says what it is told to."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from aletheia.analysis.audio_ports import AudioHead
from aletheia.analysis.ports import FetchedFile
from aletheia.analysis.speech_ports import SpeechEnd, SpeechProgress, SpeechSegment
from aletheia.errors import AletheiaError

HARBOUR = Path(__file__).parents[2] / "deployments/examples/media/harbour.ogg"
"""Ten seconds of speech, made by flite; its words are in the README beside it."""

HARBOUR_WORDS = frozenset({"morning", "harbour", "grain", "silos", "inspectors", "river", "train"})

Piece = AudioHead | SpeechSegment | SpeechProgress | SpeechEnd

HEAD = AudioHead(16_000, 1, 60.0, "ogg/opus", "libsndfile", "1.2.2")


def say(
    start_s: float, text: str, log_probability: float | None = -0.1, language: str = "en"
) -> SpeechSegment:
    """Return a segment of five seconds."""
    return SpeechSegment(start_s, start_s + 5, text, log_probability, language)


class ScriptedEngine:
    """Yields pieces that were set, those behind a time, and raises errors among them once."""

    def __init__(
        self,
        pieces: Sequence[Piece | AletheiaError],
        *,
        languages: frozenset[str] | None = None,
        provider: str = "scripted",
    ) -> None:
        self.provider, self.model, self.languages = provider, "words 1", languages
        self._pieces = list(pieces)
        self.asked: list[tuple[str | None, float]] = []

    async def transcribe(
        self, file: FetchedFile, *, language: str | None = None, from_s: float = 0.0
    ) -> AsyncGenerator[Piece]:
        """Yield what was set."""
        assert file.descriptor > 0
        self.asked.append((language, from_s))
        for piece in list(self._pieces):
            if isinstance(piece, AletheiaError):
                self._pieces.remove(piece)
                raise piece
            if not isinstance(piece, SpeechSegment) or piece.start_s >= from_s:
                yield piece
