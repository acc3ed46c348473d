"""Recordings cut into parts that are sent elsewhere."""

import base64
import io
from importlib import import_module
from typing import Any

import numpy as np

from aletheia.adapters.audio.cutting import cut_recording
from tests.aletheia.adapters.audio.conftest import Open
from tests.fakes.recordings import make_tone, write_sound


def test_a_part_is_flac_of_one_channel(opened: Open):
    soundfile: Any = import_module("soundfile")  # which has no types
    tone = make_tone(3, rate=48_000, hertz=440)
    file = opened(write_sound(np.concatenate([tone, tone]), 48_000))
    head, part, end = cut_recording([file], from_s=1.0, max_seconds=60)
    assert (head["kind"], part["begin_s"], part["seconds"]) == ("head", 1.0, 2.0)
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(part["flac"])))
    assert (rate, sound.shape) == (16_000, (32_000,))
    assert end == {"kind": "end", "duration": 3.0, "is_broken": False}


def test_silence_is_no_part(opened: Open):
    file = opened(write_sound(np.zeros((1, 80_000), np.float32), 16_000))
    pieces = list(cut_recording([file], from_s=0, max_seconds=60))
    assert [piece["kind"] for piece in pieces] == ["head", "progress", "end"]
