"""Reads what libsndfile does not by ffmpeg, a process below this one, with the same limits.

It opens the one file that it is given, only as what recordings are (no playlists, no lists of other
files), and no address: `-protocol_whitelist`, `-format_whitelist`.
"""

import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, cast

import numpy as np
import orjson

from aletheia.adapters.audio.head import AudioHead, Blocks, block_frames
from aletheia.errors import ComputeFailed

PROBE_TIMEOUT_S: Final = 30.0

DEMUXERS: Final = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,"
    "mpegts,nistsphere,ogg,rm,tak,tta,voc,w64,wav,wv,xwma"
)
"""Containers that are opened; none of them names other files, as `mov` is used without `drefs`."""

_INPUT: Final = (
    *("-v", "error", "-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS),
    *("-max_streams", "100"),
)
_WITHOUT_LENGTH: Final = frozenset(
    {"aac", "ac3", "amr", "dts", "eac3", "mp3", "mpeg", "mpegts", "tak"}
)
"""Containers that do not say how long they play: ffmpeg guesses it by their size."""

_SAMPLE_BYTES: Final = 4
_MAX_SAID: Final = 65_536


class NotRead(Exception):
    """A recording, or the rest of it, cannot be read; the message says why."""


def has_ffmpeg() -> bool:
    """Check whether ffmpeg is installed."""
    return all(shutil.which(name) for name in ("ffmpeg", "ffprobe"))


@cache
def ffmpeg_version() -> str:
    """Return the version of ffmpeg that is installed."""
    said = _run(["ffmpeg", "-version"])
    words = said.decode("utf-8", "replace").split(maxsplit=3)
    return words[2] if len(words) > 2 else "unknown"  # noqa: PLR2004 - "ffmpeg version X"


def probe_ffmpeg(path: str) -> AudioHead:
    """Read the head of the first sound in a file.

    Raises:
        NotRead: there is none, or nothing that ffmpeg reads.
        ComputeFailed: `decoder_died`, `too_slow`.
    """
    shown = "stream=sample_rate,channels,codec_name,duration:format=duration,format_name"
    options = ("-select_streams", "a:0", "-show_entries", shown, "-of", "json")
    found: Any = orjson.loads(_run(["ffprobe", *_INPUT, *options, f"file:{path}"]) or b"{}")
    streams = cast("list[Mapping[str, Any]]", found.get("streams") or [])
    if not streams:
        raise NotRead("there is no sound in it that ffmpeg reads")
    stream, container = streams[0], cast("Mapping[str, Any]", found.get("format") or {})
    name = str(container.get("format_name", "")).split(",")[0]
    return AudioHead(
        rate=int(_number(stream.get("sample_rate"))),
        channels=int(_number(stream.get("channels"))),
        declared_s=_number(stream.get("duration") or container.get("duration")) or None,
        format=f"{name}/{stream.get('codec_name', '')}",
        provider="ffmpeg",
        version=ffmpeg_version(),
        is_estimated=name in _WITHOUT_LENGTH,
    )


@contextmanager
def read_ffmpeg(path: str, head: AudioHead) -> Generator[Blocks]:
    """Decode a file; its samples are yielded as they come, and `NotRead` is raised at damage."""
    command = [
        *("ffmpeg", "-nostdin", *_INPUT, "-threads", "1", "-i", f"file:{path}"),
        *("-map", "0:a:0", "-vn", "-sn", "-dn", "-ac", str(head.channels), "-ar", str(head.rate)),
        *("-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"),
    ]
    with subprocess.Popen(  # noqa: S603 - our command, and a path of ours
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=_passed(path),
    ) as process:
        try:
            yield _read_blocks(process, head.channels)
        finally:
            process.kill()


def _read_blocks(process: "subprocess.Popen[bytes]", channels: int) -> Blocks:
    assert process.stdout is not None
    frame_bytes = _SAMPLE_BYTES * channels
    while data := process.stdout.read(frame_bytes * block_frames(channels)):
        whole = len(data) - len(data) % frame_bytes
        samples = np.frombuffer(data[:whole], "<f4").reshape(-1, channels)
        if len(samples):
            yield np.ascontiguousarray(samples.T, np.float32)
    code = process.wait()
    if code:
        _check_end(code)
        raise NotRead("ffmpeg gave up on damage in it")


def _run(command: Sequence[str]) -> bytes:
    """Return what a program prints, or `NotRead` where it ends with an error."""
    try:
        done = subprocess.run(  # noqa: S603 - our command, and a path of ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=_passed(command[-1]),
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ComputeFailed("too_slow", "ffmpeg took too long to open it") from None
    if done.returncode:
        _check_end(done.returncode)
        raise NotRead("ffmpeg does not read it")
    return done.stdout[:_MAX_SAID]


def _check_end(code: int) -> None:
    """Raise what a signal that has ended ffmpeg stands for."""
    if code == -signal.SIGXCPU:
        raise ComputeFailed("too_slow", "ffmpeg took more processor time than it may")
    if code < 0:
        name = signal.Signals(-code).name
        raise ComputeFailed("decoder_died", f"ffmpeg ended with {name}")


def _passed(path: str) -> tuple[int, ...]:
    """Return the descriptor that a path of ours stands for."""
    _, _, last = path.rpartition("/")
    return (int(last),) if "/fd/" in path and last.isdigit() else ()


def _number(said: object) -> float:
    try:
        number = float(str(said))
    except ValueError:
        return 0.0
    return number if 0 <= number < 1e12 else 0.0  # noqa: PLR2004 - and neither NaN nor endless
