"""The task type `audio_analysis`: how long, how loud and how bright a recording is (SPEC §3)."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, ClassVar, Final, cast

from pydantic import BaseModel, Field

from aletheia.analysis.audio_ports import AudioAnalyser, AudioHead, Measured, Spread
from aletheia.analysis.document_text import PageCache
from aletheia.analysis.file_types import AUDIO_TYPES
from aletheia.analysis.ports import FetchedFile, Fetcher
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.single import Computed, SingleProcessor
from aletheia.analysis.time_limits import allow_time
from aletheia.errors import ComputeFailed

TASK_TYPE: Final = "audio_analysis"

TIME_PER_SECOND: Final = 4.0
"""Seconds that computing may take for each that a recording plays (SPEC §3, `TASK_TIMEOUT`)."""


class AudioAnalysisInput(BaseModel):
    """A recording."""

    audio_file: str = Field(
        min_length=1,
        description="The recording: an https URL, a `data:` URI, or a path below `FILES_DIR`.",
    )


class Figure(BaseModel):
    """A figure over the frames of some 46 ms that are louder than -70 dBFS."""

    mean: float = Field(description="Mean.")
    deviation: float = Field(ge=0, description="Standard deviation.")


class Beat(BaseModel):
    """How fast a recording goes."""

    bpm: float = Field(gt=0, description="Beats a minute, 40 to 240.")
    certainty: float = Field(
        ge=0, le=1, description="Share of the beats' energy that comes again one beat later."
    )


class SpectralFeatures(BaseModel):
    """What the sound is like, from the mean of all channels; null where it is silent."""

    centroid: Figure | None = Field(description="Centre of the magnitudes, Hz: how bright it is.")
    bandwidth: Figure | None = Field(description="Deviation from the centre, Hz.")
    rolloff: Figure | None = Field(description="Below which 85 % of the magnitudes lie, Hz.")
    flatness: Figure | None = Field(
        description="Geometric by arithmetic mean of the power: 0 of a tone, 0.56 of white noise."
    )
    zero_crossing_rate: float | None = Field(
        description="Share of samples at which the sign changes, 0 to 1."
    )
    tempo: Beat | None = Field(description="Tempo; null where nothing beats, or below 4 s.")


class AudioAnalysisResult(BaseModel):
    """How long, how loud and how bright a recording is."""

    duration: float = Field(gt=0, description="How long it plays, seconds, as it was read.")
    sample_rate: int = Field(ge=1, description="Samples a second, Hz.")
    channels: int = Field(ge=1, description="Channels.")
    loudness: float | None = Field(
        description="Integrated loudness, LUFS (EBU R 128); null where nothing is above -70 LUFS, "
        "or below 0.4 s."
    )
    loudness_range: float | None = Field(
        description="Loudness range, LU (EBU Tech 3342); null as the loudness is, or below 3 s."
    )
    true_peak: float | None = Field(
        description="True peak, dBTP, oversampled (ITU-R BS.1770); null of digital silence."
    )
    spectral_features: SpectralFeatures = Field(description="What the sound is like.")
    format: str = Field(description="Format of the file and of its samples.")
    truncated: bool = Field(
        description="Whether its end could not be read, or is less than its header says."
    )
    provider: str = Field(description="What read it: `libsndfile` or `ffmpeg`.")
    model: str = Field(description="Its version.")


class AudioAnalysis(SingleProcessor[AudioAnalysisInput]):
    """Measures recordings: duration, loudness, true peak, range, spectrum, tempo."""

    spec: ClassVar[TypeSpec] = TypeSpec(
        input=AudioAnalysisInput, result=AudioAnalysisResult, lane="media"
    )

    def __init__(
        self, fetcher: Fetcher, recordings: AudioAnalyser, cache: PageCache | None = None
    ) -> None:
        self._fetcher, self._recordings, self._cache = fetcher, recordings, cache

    def group(self, task_input: AudioAnalysisInput) -> str:
        """Check the address; see `SingleProcessor.group`."""
        self._fetcher.check(task_input.audio_file)
        return ""

    async def compute(self, task_input: AudioAnalysisInput) -> Computed:
        """Measure a recording; see `SingleProcessor.compute`."""
        async with self._fetcher.fetch(task_input.audio_file, types=AUDIO_TYPES) as file:
            head, measured = await self._find(file)
        result = AudioAnalysisResult(
            duration=measured.duration_s,
            sample_rate=head.rate,
            channels=head.channels,
            loudness=_round(measured.loudness_lufs, 2),
            loudness_range=_round(measured.loudness_range_lu, 2),
            true_peak=_round(measured.true_peak_dbtp, 2),
            spectral_features=describe_sound(measured),
            format=head.format,
            truncated=measured.is_broken,
            provider=head.provider,
            model=f"{head.provider} {head.version}",
        )
        record = {"seconds": round(result.duration, 3), "provider": head.provider}
        return Computed(result, {**record, "model": result.model})

    async def _find(self, file: FetchedFile) -> tuple[AudioHead, Measured]:
        """Return what was measured of the same content before, or else measure it."""
        key = ("measured", file.content_hash)
        saved: Any = None if self._cache is None else await self._cache.get(*key)
        if saved is not None:
            return AudioHead(**saved["head"]), load_measured(saved["measured"])
        head, measured = await self._measure(file)
        if self._cache is not None:
            await self._cache.put({"head": asdict(head), "measured": asdict(measured)}, *key)
        return head, measured

    async def _measure(self, file: FetchedFile) -> tuple[AudioHead, Measured]:
        head: AudioHead | None = None
        measured: Measured | None = None
        async with aclosing(self._recordings.analyse(file)) as found:
            async for piece in found:
                if isinstance(piece, Measured):
                    measured = piece
                else:
                    head = piece
                    allow_time(TIME_PER_SECOND * (head.declared_s or 0))
        if head is None or measured is None:
            raise ComputeFailed("decoder_error", "the recording was read without a result")
        return head, measured


def load_measured(saved: Mapping[str, Any]) -> Measured:
    """Read what was measured as it was saved."""
    fields = dict(saved)
    for name, value in saved.items():
        if isinstance(value, dict):
            fields[name] = Spread(**cast("dict[str, float]", value))
    return Measured(**fields)


def describe_sound(measured: Measured) -> SpectralFeatures:
    """Return what the sound of a recording is like."""
    beat = None
    if measured.tempo_bpm is not None:
        bpm, certainty = measured.tempo_bpm, measured.tempo_certainty or 0.0
        beat = Beat(bpm=round(bpm, 2), certainty=round(certainty, 3))
    return SpectralFeatures(
        centroid=_show(measured.centroid_hz, 1),
        bandwidth=_show(measured.bandwidth_hz, 1),
        rolloff=_show(measured.rolloff_hz, 1),
        flatness=_show(measured.flatness, 5),
        zero_crossing_rate=_round(measured.zero_crossing_rate, 5),
        tempo=beat,
    )


def _show(spread: Spread | None, digits: int) -> Figure | None:
    if spread is None:
        return None
    return Figure(mean=round(spread.mean, digits), deviation=round(spread.deviation, digits))


def _round(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)
