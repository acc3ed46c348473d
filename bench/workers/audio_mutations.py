"""Recordings that are damaged by chance: each is measured or has its code, and no worker dies."""

import io
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import aclosing
from importlib import import_module
from random import Random
from typing import Any, Final

import numpy as np

from aletheia.adapters.audio.analyser import ChildAnalyser
from aletheia.adapters.children.pool import Children
from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.file_types import FileType
from aletheia.analysis.ports import FetchedFile
from aletheia.errors import AletheiaError
from bench.workers.mutations import READ, Outcome, measure, mutate

soundfile: Any = import_module("soundfile")  # which has no types

EXPECTED: Final = frozenset(
    {READ, "unreadable_audio", "no_decoder", "too_large", "decoder_died", "too_slow"}
)
"""Codes that a damaged recording may have; any other is a fault of ours."""

_SECONDS: Final = 2.0
_RATE: Final = 8_000
_FORMATS: Final[Mapping[FileType, tuple[str, str]]] = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "caf": ("CAF", "ALAC_16"),
}
_BY_FFMPEG: Final[Mapping[FileType, tuple[str, ...]]] = {
    "webm": ("-c:a", "libopus", "-f", "webm"),
    "mp4": ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4"),
    "aac": ("-c:a", "aac", "-f", "adts"),
}


def make_samples() -> dict[FileType, bytes]:
    """Return two seconds of noise in each format that can be written here."""
    noise = 0.1 * np.random.default_rng(2).standard_normal((round(_SECONDS * _RATE), 2))
    samples: dict[FileType, bytes] = {}
    for type_, (container, subtype) in _FORMATS.items():
        out = io.BytesIO()
        soundfile.write(out, noise, _RATE, format=container, subtype=subtype)
        samples[type_] = out.getvalue()
    if shutil.which("ffmpeg"):
        for type_, options in _BY_FFMPEG.items():
            command = ("ffmpeg", "-v", "error", "-i", "pipe:0", *options, "pipe:1")
            done = subprocess.run(command, input=samples["wav"], capture_output=True, check=True)
            samples[type_] = done.stdout
    return samples


async def run_audio_mutations(
    samples: Mapping[FileType, bytes],
    type_: FileType,
    count: int,
    *,
    seed: int = 0,
    within_s: float = float("inf"),
) -> Outcome:
    """Measure up to `count` damaged recordings of a type, as many as come within a time.

    Raises:
        Exception: whatever is no error of ours, so that a worker would have ended.
    """
    settings = AudioSettings(audio_processor_seconds=20)
    outcome = Outcome(type_)
    children = Children(settings.audio_memory_max)
    await children.open()
    analyser = ChildAnalyser(children, settings)
    began = time.monotonic()
    try:
        for number in range(seed, seed + count):
            if time.monotonic() - began > within_s:
                break
            code = await _measure(analyser, type_, mutate(samples[type_], Random(number)))
            outcome.codes[code] += 1
            outcome.files += 1
            if code not in EXPECTED:
                outcome.unexpected[number] = code
            measure(children, outcome)
    finally:
        await children.close()
    outcome.seconds = time.monotonic() - began
    return outcome


async def _measure(analyser: ChildAnalyser, type_: FileType, data: bytes) -> str:
    with tempfile.TemporaryFile() as opened:
        opened.write(data)
        opened.flush()
        file = FetchedFile(opened.fileno(), len(data), "", type_, "a damaged recording")
        try:
            async with aclosing(analyser.analyse(file)) as pieces:
                async for _ in pieces:
                    pass
        except AletheiaError as error:
            return error.code
    return READ
