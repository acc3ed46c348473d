"""Word errors of speech: sentences that flite says, and what is heard where nobody speaks.

Both texts are normalised before they are compared: case, punctuation, British and American
spelling, numbers as digits.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.audio.models import find_packaged
from bench.programs import BenchFailed

soundfile: Any = import_module("soundfile")  # which has no types

VOICES: Final = ("rms", "slt")
RATE: Final = 16_000
SILENT_S: Final = 60

SENTENCES: Final = (
    "The committee will meet again on the third of March to discuss the budget.",
    "Please bring your passport and two copies of the completed form.",
    "Heavy rain is expected in the north, with strong winds along the coast.",
    "The library opens at nine in the morning and closes at six in the evening.",
    "She has worked as an engineer at the same company for twelve years.",
    "Our train was late because of a fallen tree on the line.",
    "The new bridge will connect the old town with the harbour.",
    "Doctors recommend at least seven hours of sleep every night.",
    "He painted the kitchen yellow and the bedroom a pale shade of blue.",
    "The price of bread has risen by four percent since last summer.",
    "Children under five may travel without a ticket.",
    "The museum shows letters and photographs from the early days of flight.",
    "Turn left at the second light and stop in front of the post office.",
    "Most of the students preferred to write the exam on paper.",
    "The garden behind the house is full of apple trees.",
    "Scientists have found traces of water on the surface of the planet.",
    "The meeting was moved to Thursday afternoon at half past two.",
    "A good carpenter measures twice and cuts once.",
    "The river is wide and slow where it reaches the sea.",
    "Nobody knew the answer to the last question.",
)
"""Written for this bench; nothing is fitted on them."""

JFK: Final = Path(__file__).parents[1] / "data/speech/jfk.ogg"
JFK_WORDS: Final = (
    "And so, my fellow Americans, ask not what your country can do for you, ask what you can do "
    "for your country."
)

_SPELLINGS: Final = {"harbour": "harbor", "colour": "color", "percent": "%"}
_DIGITS: Final = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMBERS: Final = {word: str(number) for number, word in enumerate(_DIGITS.split())}
_ORDINALS: Final = {"first": "1st", "second": "2nd", "third": "3rd"}


def measure() -> dict[str, float]:
    """Return word error rates by voice, in all, and the words heard in a minute of nothing.

    Raises:
        BenchFailed: flite or the packaged model is not installed.
    """
    if shutil.which("flite") is None:
        raise BenchFailed("flite, which speaks, is not installed")
    figures: dict[str, float] = {}
    errors = words = 0
    for voice in VOICES:
        found = [count_errors(text, hear(speak(text, voice))) for text in SENTENCES]
        wrong, all_words = (sum(column) for column in zip(*found, strict=True))
        figures[f"wer_{voice}"] = wrong / all_words
        errors, words = errors + wrong, words + all_words
    figures["wer"] = errors / words
    wrong, said = count_errors(JFK_WORDS, hear(read_jfk()))
    figures["wer_jfk"] = wrong / said
    for name, sound in make_nothing().items():
        figures[f"words_in_{name}"] = len(normalise(hear(sound)))
    return figures


def count_errors(said: str, heard: str) -> tuple[int, int]:
    """Return how many words are wrong, missing or too many, and how many were said."""
    expected, found = normalise(said), normalise(heard)
    before = list(range(len(found) + 1))
    for row, word in enumerate(expected, start=1):
        now = [row]
        for column, other in enumerate(found, start=1):
            cheapest = min(before[column] + 1, now[-1] + 1, before[column - 1] + (word != other))
            now.append(cheapest)
        before = now
    return before[-1], len(expected)


def normalise(text: str) -> list[str]:
    """Return the words of a text in one spelling."""
    plain = re.sub(r"(\d)%", r"\1 %", text.lower().replace("o'clock", ""))
    words: list[str] = re.findall(r"[a-z]+(?:'[a-z]+)?|\d+(?:st|nd|rd|th)?|%", plain)
    spelled = (_SPELLINGS.get(word, word) for word in words)
    return [_NUMBERS.get(word, _ORDINALS.get(word, word)) for word in spelled]


def speak(text: str, voice: str) -> NDArray[np.float32]:
    """Return a text as flite says it, 16 kHz."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.wav")
        command = ("flite", "-voice", voice, "-t", text, "-o", str(path))
        subprocess.run(command, check=True, capture_output=True)
        sound: Any
        sound, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        raise BenchFailed(f"flite speaks at {rate} Hz")
    return sound


def read_jfk() -> NDArray[np.float32]:
    """Return some real speech at 16 kHz; Opus is read at 48."""
    sound, rate = soundfile.read(JFK, dtype="float32")
    step = rate // RATE
    return sound[: len(sound) // step * step].reshape(-1, step).mean(axis=1)


def make_nothing() -> dict[str, NDArray[np.float32]]:
    """Return a minute of silence, of a tone, and of noise."""
    count = SILENT_S * RATE
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(count) / RATE)
    noise = 0.1 * np.random.default_rng(0).standard_normal(count)
    return {
        "silence": np.zeros(count, np.float32),
        "tone": tone.astype(np.float32),
        "noise": noise.astype(np.float32),
    }


def hear(sound: NDArray[np.float32]) -> str:
    """Return what the job of `speech_to_text` hears, in this process."""
    whisper: Any = import_module("aletheia.adapters.audio.whisper")
    with _written(sound) as file:
        pieces = whisper.transcribe_whisper(
            [file],
            directory=_find_model(),
            language=None,
            from_s=0.0,
            max_seconds=3600,
            threads=2,
        )
        said: Sequence[str] = [piece["text"] for piece in pieces if piece["kind"] == "segment"]
    return " ".join(said)


@contextmanager
def _written(sound: NDArray[np.float32]) -> Generator[int]:
    with tempfile.NamedTemporaryFile(suffix=".flac") as file:
        soundfile.write(file, sound, RATE, format="FLAC")
        file.flush()
        yield file.fileno()


@cache
def _find_model() -> str:
    packaged = find_packaged()
    if packaged is None:
        raise BenchFailed("the extras `speech` and `offline` are not installed")
    return str(packaged)
