"""Recordings, made here: tones, noise, beats, and what is wrong with them."""

import io
import struct
import subprocess
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

soundfile: Any = import_module("soundfile")  # which has no types

Sound = NDArray[np.float32]
"""`(channels, n)`, 1 being full scale."""


def make_tone(
    seconds: float, *, rate: int = 48_000, hertz: float = 1000.0, level_db: float = -23.0
) -> Sound:
    """Return a sine on one channel whose peak is at a level below full scale, dB."""
    times = np.arange(round(seconds * rate)) / rate
    tone = 10 ** (level_db / 20) * np.sin(2 * np.pi * hertz * times)
    return tone.astype(np.float32)[None]


def make_noise(seconds: float, *, rate: int = 48_000, level: float = 0.1, seed: int = 0) -> Sound:
    """Return white noise on one channel, by its standard deviation."""
    random = np.random.default_rng(seed)
    return (level * random.standard_normal((1, round(seconds * rate)))).astype(np.float32)


def make_beats(seconds: float, bpm: float, *, rate: int = 22_050) -> Sound:
    """Return noise that begins anew with each beat, and fades."""
    times = np.arange(round(seconds * rate)) / rate
    fading = np.exp(-12 * ((times * bpm / 60) % 1))
    return make_noise(seconds, rate=rate, level=0.2)[:, : len(times)] * fading.astype(np.float32)


def make_music(seconds: float, *, rate: int = 48_000, channels: int = 2) -> Sound:
    """Return beats over a tone, channels that differ, and a quiet part."""
    times = np.arange(round(seconds * rate)) / rate
    tone = 0.1 * np.sin(2 * np.pi * 220 * times) * (1 + 0.5 * np.sin(0.6 * times))
    mono = tone + 0.5 * make_beats(seconds, 100, rate=rate)[0]
    shares = 1 - 0.1 * np.arange(channels)
    sound = shares[:, None] * mono + 0.02 * make_noise(seconds, rate=rate, level=1)
    sound[:, round(0.6 * len(times)) : round(0.8 * len(times))] *= 0.05
    return sound.astype(np.float32)


def write_sound(sound: Sound, rate: int, *, container: str = "WAV", subtype: str = "") -> bytes:
    """Write a sound as a file that libsndfile writes."""
    out = io.BytesIO()
    soundfile.write(out, sound.T, rate, format=container, subtype=subtype or None)
    return out.getvalue()


def write_by_ffmpeg(sound: Sound, rate: int, container: str, *options: str) -> bytes:
    """Write a sound as a file that ffmpeg writes to a pipe."""
    command = ("ffmpeg", "-v", "error", "-i", "pipe:0", *options, "-f", container, "pipe:1")
    wav = write_sound(sound, rate)
    return subprocess.run(command, input=wav, capture_output=True, check=True).stdout


def lie_about_wav(sound: Sound, rate: int, seconds: float) -> bytes:
    """Write a WAV whose header says that it plays so many seconds."""
    data = bytearray(write_sound(sound, rate))
    size = min(2**32 - 1, round(2 * seconds * rate))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    data[4:8] = struct.pack("<I", min(2**32 - 1, size + at - 4))
    return bytes(data)


def lie_about_flac(sound: Sound, rate: int, seconds: float) -> bytes:
    """Write a FLAC whose header says that it plays so many seconds."""
    data = bytearray(write_sound(sound, rate, container="FLAC"))
    # STREAMINFO begins at 8; its number of samples has 36 bits that end at its byte 18.
    frames = round(seconds * rate)
    fields = int.from_bytes(data[18:26], "big") & ~(2**36 - 1)
    data[18:26] = (fields | frames).to_bytes(8, "big")
    return bytes(data)


def describe(sound: Sound) -> dict[str, Any]:
    """Return how many channels and samples a sound has."""
    return {"channels": sound.shape[0], "frames": sound.shape[1]}
