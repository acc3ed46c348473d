"""Recordings, block by block, by libsndfile, or by ffmpeg where it is installed."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.audio.ffmpeg import NotRead, has_ffmpeg, probe_ffmpeg, read_ffmpeg
from aletheia.adapters.audio.head import (
    MAX_CHANNELS,
    RATES,
    AudioHead,
    Blocks,
    block_frames,
)
from aletheia.adapters.children.child import path_of
from aletheia.errors import InvalidTask

soundfile: Any = import_module("soundfile")  # whose types are not strict

MAX_LEVEL: Final = 100.0
"""Samples of files that hold floats are cut to this; 1 is full scale."""

_DECLARED_FREELY: Final = 2**62
"""libsndfile's number of frames where a header does not say it."""


@dataclass(slots=True)
class Recording:
    """A recording that is open: its head, and its samples as far as they have been read."""

    head: AudioHead
    max_seconds: float
    frames: int = 0  # read so far
    is_broken: bool = False  # whether its end could not be read
    _blocks: Blocks | None = None

    def read(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of samples, `(channels, n)`, in order, finite, 1 being full scale.

        What comes before damage is read, and the rest is left out; see `is_broken`.

        Raises:
            InvalidTask: `too_large` (it plays longer than it may), `unreadable_audio` (there is
                nothing in it that can be read).
        """
        assert self._blocks is not None
        max_frames = self.max_seconds * self.head.rate
        try:
            for block in self._blocks:
                self.frames += block.shape[1]
                if self.frames > max_frames:
                    raise _too_long(self.max_seconds)
                yield _bounded(block)
        except NotRead as fault:
            if not self.frames:
                raise InvalidTask("unreadable_audio", f"no sound can be read: {fault}") from fault
            self.is_broken = True
        if not self.frames:
            raise InvalidTask("unreadable_audio", "there is no sound in it")
        declared = None if self.head.is_estimated else self.head.declared_s
        if declared and self.frames < 0.9 * declared * self.head.rate:
            self.is_broken = True


@contextmanager
def open_recording(descriptor: int, *, max_seconds: float) -> Generator[Recording]:
    """Open a recording.

    Raises:
        InvalidTask: `unreadable_audio`, `too_large` (by its header), `no_decoder` (only ffmpeg may
            read it, and is not installed).
    """
    path = path_of(descriptor)
    try:
        opened: Any = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError) as error:
        with _open_ffmpeg(path, str(error), max_seconds) as recording:
            yield recording
        return
    with opened:
        # Otherwise it seeks after each block, which fails where the header promises more.
        opened.seekable = lambda: False
        frames = int(opened.frames)
        is_declared = 0 < frames < _DECLARED_FREELY
        head = AudioHead(
            rate=int(opened.samplerate),
            channels=int(opened.channels),
            declared_s=frames / max(1, int(opened.samplerate)) if is_declared else None,
            format=f"{opened.format}/{opened.subtype}".lower(),
            provider="libsndfile",
            version=str(soundfile.__libsndfile_version__),
        )
        check_head(head, max_seconds)
        yield Recording(head, max_seconds, _blocks=_read_soundfile(opened, head))


@contextmanager
def _open_ffmpeg(path: str, refusal: str, max_seconds: float) -> Generator[Recording]:
    if not has_ffmpeg():
        reason = f"libsndfile does not read it ({refusal[:100]}), and ffmpeg is not installed"
        raise InvalidTask("no_decoder", reason)
    try:
        head = probe_ffmpeg(path)
    except NotRead as fault:
        raise InvalidTask("unreadable_audio", f"no sound can be read: {fault}") from fault
    check_head(head, max_seconds)
    with read_ffmpeg(path, head) as blocks:
        yield Recording(head, max_seconds, _blocks=blocks)


def check_head(head: AudioHead, max_seconds: float) -> None:
    """Raise `InvalidTask` for what no recording is, or one that plays too long."""
    if head.rate not in RATES or not 1 <= head.channels <= MAX_CHANNELS:
        said = f"{head.channels} channels of {head.rate} samples a second"
        raise InvalidTask("unreadable_audio", f"its header speaks of {said}")
    declared = None if head.is_estimated else head.declared_s
    if declared is not None and declared > max_seconds:
        raise _too_long(max_seconds, declared)


def _read_soundfile(opened: Any, head: AudioHead) -> Blocks:
    frames = block_frames(head.channels)
    while True:
        try:
            block: NDArray[np.float32] = opened.read(frames, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError, OSError) as error:
            raise NotRead(str(error)[:100]) from error
        if not len(block):
            return
        yield np.ascontiguousarray(block.T)


def _bounded(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a block without what is no number and without levels that no recording has."""
    if np.abs(block).max(initial=0.0) <= MAX_LEVEL:  # which NaN is not
        return block
    cleaned = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(cleaned, -MAX_LEVEL, MAX_LEVEL)


def _too_long(max_seconds: float, declared_s: float | None = None) -> InvalidTask:
    plays = "it plays" if declared_s is None else f"by its header it plays {declared_s:,.0f} s,"
    return InvalidTask("too_large", f"{plays} longer than {max_seconds:,.0f} s")
