"""Measures a recording, in a child: one pass, block by block."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from aletheia.adapters.audio.blocks import open_recording
from aletheia.adapters.audio.head import AudioHead
from aletheia.adapters.audio.loudness import LoudnessMeter
from aletheia.adapters.audio.spectrum import SpectrumMeter
from aletheia.adapters.audio.tempo import TempoMeter

Piece: TypeAlias = dict[str, Any]

SAY_EVERY_S: Final = 5.0
"""How often a child says how far it is, seconds, so that one that hangs is found out."""


def measure_recording(files: Sequence[int], *, max_seconds: float) -> Iterator[Piece]:
    """Yield the head of a recording, how far it has been read, and at last what was measured.

    Raises:
        InvalidTask: as `open_recording` and `Recording.read`.
        ComputeFailed: `decoder_died`, `too_slow`, of ffmpeg.
    """
    with open_recording(files[0], max_seconds=max_seconds) as recording:
        head = recording.head
        yield make_head(head)
        loudness = LoudnessMeter(head.rate, head.channels)
        spectrum = SpectrumMeter(head.rate)
        tempo = TempoMeter(spectrum.hop_s)
        said_at = time.monotonic()
        for block in recording.read():
            loudness.add(block)
            tempo.add(spectrum.add(block))
            if time.monotonic() - said_at > SAY_EVERY_S:
                yield {"kind": "progress", "seconds": recording.frames / head.rate}
                said_at = time.monotonic()
        measured = spectrum.finish()
        beat = tempo.finish()
        yield {
            "kind": "measured",
            "duration": recording.frames / head.rate,
            "is_broken": recording.is_broken,
            "loudness": asdict(loudness.finish()),
            "spectrum": measured and asdict(measured),
            "tempo": beat and asdict(beat),
        }


def make_head(head: AudioHead) -> Piece:
    """Return a recording's head as a piece."""
    return {"kind": "head", **asdict(head)}
