"""What recordings cost in children, beside the same libraries in this process.

`analysis_overhead`: measuring in a child that is there already, by the same pass in this process.
`speech_overhead`: transcribing in a child, by faster-whisper alone, with its filter, here.
`…_mb`: the most that the child ever had in memory, above what it had before its first job, which
the libraries and the model are part of. `speech_rtf`: seconds for each second that it plays.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from aletheia.adapters.audio.analyser import ChildAnalyser
from aletheia.adapters.audio.measuring import measure_recording
from aletheia.adapters.audio.models import find_packaged
from aletheia.adapters.audio.transcriber import WHISPER_JOB, ChildTranscriber
from aletheia.adapters.children.limits import JobLimits
from aletheia.adapters.children.pool import Children, Job
from aletheia.analysis.audio_settings import AudioSettings, SpeechSettings
from aletheia.analysis.ports import FetchedFile
from bench.programs import BenchFailed
from bench.workers.sounds import write_music, write_speech

ROUNDS: Final = 3
SHORT_MINUTES: Final = 2.0
"""Playing time that overhead is measured with, in rounds."""

NOTHING: Final = Job("builtins:iter", JobLimits(10, 10))
"""A job that needs no library: what a child has after it is its baseline."""

Run = Callable[[FetchedFile], AsyncGenerator[Any]]


async def measure_analysis(minutes: float) -> dict[str, float]:
    """Return the figures of `audio_analysis`, with the memory for a recording of some minutes."""
    settings = AudioSettings(max_audio_seconds=86_400)
    children = Children(settings.audio_memory_max)
    analyser = ChildAnalyser(children, settings)
    with TemporaryDirectory() as directory:
        short, long = Path(directory, "short.flac"), Path(directory, "long.flac")
        write_music(short, SHORT_MINUTES)
        write_music(long, minutes)

        threads: Any = import_module("threadpoolctl")

        def bare() -> None:
            # One thread for products, as in a child: more only wait for each other here.
            with threads.threadpool_limits(1), short.open("rb") as file:
                for _ in measure_recording([file.fileno()], max_seconds=86_400):
                    pass

        ratio = await _compare(children, analyser.analyse, short, bare)
        mb, took_s = await _measure_memory(settings.audio_memory_max, long, _analyse_in)
    return {
        "analysis_overhead": ratio,
        "analysis_mb": mb,
        "analysis_rtf": took_s / (60 * minutes),
    }


async def measure_speech(minutes: float) -> dict[str, float]:
    """Return the figures of `speech_to_text` by the model of the extra `offline`."""
    packaged = find_packaged()
    if packaged is None:
        raise BenchFailed("the extras `speech` and `offline` are not installed")
    speech = SpeechSettings()
    children = Children(speech.speech_memory_max)
    whisper: Any = import_module("faster_whisper")
    threads = speech.speech_threads
    model = whisper.WhisperModel(
        str(packaged), device="cpu", compute_type="int8", cpu_threads=threads
    )
    with TemporaryDirectory() as directory:
        short, long = Path(directory, "short.flac"), Path(directory, "long.flac")
        write_speech(short, SHORT_MINUTES)
        write_speech(long, minutes)

        def bare() -> None:
            found, _ = model.transcribe(
                str(short), vad_filter=True, condition_on_previous_text=False
            )
            for _ in found:
                pass

        ratio = await _compare(children, make_engine(children).transcribe, short, bare)
        mb, took_s = await _measure_memory(speech.speech_memory_max, long, _transcribe_in)
    return {
        "speech_overhead": ratio,
        "speech_mb": mb,
        "speech_rtf": took_s / (60 * minutes),
    }


def make_engine(children: Children) -> ChildTranscriber:
    """Build the engine of the packaged model."""
    speech = SpeechSettings()
    return ChildTranscriber(
        children,
        job=WHISPER_JOB,
        provider="faster-whisper",
        model="tiny.en",
        languages=frozenset({"en"}),
        arguments={"directory": str(find_packaged()), "threads": speech.speech_threads},
        audio=AudioSettings(max_audio_seconds=86_400),
        speech=speech,
    )


def _analyse_in(children: Children) -> Run:
    return ChildAnalyser(children, AudioSettings(max_audio_seconds=86_400)).analyse


def _transcribe_in(children: Children) -> Run:
    return make_engine(children).transcribe


async def _compare(children: Children, run: Run, path: Path, bare: Callable[[], None]) -> float:
    """Return the least time in a child by the least time here, in turns."""
    ours: list[float] = []
    theirs: list[float] = []
    await children.open()
    try:
        for _ in range(1 + ROUNDS):  # the first one imports and starts
            began = time.perf_counter()
            await asyncio.to_thread(bare)
            between = time.perf_counter()
            await _drain(run, path)
            ours.append(time.perf_counter() - between)
            theirs.append(between - began)
    finally:
        await children.close()
    return min(ours[1:]) / min(theirs[1:])


async def _measure_memory(
    memory_bytes: int, path: Path, build: Callable[[Children], Run]
) -> tuple[float, float]:
    """Return the MB that a new child came to have for a recording, and the seconds it took."""
    children = Children(memory_bytes)
    await children.open()
    try:
        async with aclosing(children.run(NOTHING)) as pieces:
            assert not [piece async for piece in pieces]
        (pid,) = children.idle_pids
        before = _read_mb(pid, "VmRSS")
        began = time.perf_counter()
        await _drain(build(children), path)
        took_s = time.perf_counter() - began
        if children.idle_pids != (pid,):
            raise BenchFailed("the child was replaced")
        return _read_mb(pid, "VmHWM") - before, took_s
    finally:
        await children.close()


async def _drain(run: Run, path: Path) -> None:
    with _open(path) as file:
        async with aclosing(run(file)) as pieces:
            async for _ in pieces:
                pass


@contextmanager
def _open(path: Path) -> Generator[FetchedFile]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield FetchedFile(descriptor, path.stat().st_size, "0" * 64, "flac", path.name)
    finally:
        os.close(descriptor)


def _read_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchFailed(f"no {name} of process {pid}")
