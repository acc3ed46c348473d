"""One task of each type that workers compute, with real input, and what its result must say.

What is made for it is described beside it, in `media/README.md`.
"""

import base64
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aletheia.analysis.processor import Lane
from deployments.examples.tasks import ExampleTask

MEDIA: Final = Path(__file__).parent / "media"

NO_ENGINES: Final = {
    "no_speech_engine": "nothing here transcribes speech (the extra `speech`)",
    "no_engine_for_pair": "nothing here translates it (the extra `translation`, or Apertium)",
}
"""Codes of tasks that nothing installed can compute, honest answers and no success, in words."""

PRAISE: Final = "The new ferry is wonderful: quiet, clean and always on time. We love it!"

REPORT: Final = """\
The harbour of Marlow stores grain in nine silos beside the river. Last year 410,000 tonnes went \
through them, more than ever before. Most of the grain arrives by barge between July and October, \
and leaves by rail when the river is frozen. Since spring two of the silos have been closed, as \
sensors found the walls damp. The repairs cost 1.8 million euros and end in March. Until then \
barges wait up to four days to be unloaded. Farmers demand that the harbour open at night, too. \
The harbour master has promised to try that for one month, beginning with the wheat harvest."""

PORTUGUESE: Final = (
    "O porto guarda cereais em nove silos. Precisamos de mais tempo para os esvaziar."
)

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerExample:
    """A task for the workers of a lane."""

    task: ExampleTask
    lane: Lane
    describe: Callable[[Result], str]  # its result in a few words
    is_true: Callable[[Result], bool]  # whether that is what is in the input


def worker_examples() -> list[WorkerExample]:
    """Return a task of each type, with its media in it."""
    harbour = read_media("harbour.ogg", "audio/ogg")
    return [
        *text_examples(),
        WorkerExample(
            make_task("speech_to_text", {"audio_file": harbour, "language": "auto"}),
            lane="media",
            describe=lambda result: f"“{result['transcription']}”",
            is_true=_is_harbour,
        ),
        WorkerExample(
            make_task("audio_analysis", {"audio_file": harbour}),
            lane="media",
            describe=_describe_sound,
            is_true=lambda result: 10 < result["duration"] < 11 and result["channels"] == 1,  # noqa: PLR2004 - ten seconds
        ),
    ]


def text_examples() -> list[WorkerExample]:
    """Return a task of each type for texts."""
    return [
        WorkerExample(
            make_task("sentiment_analysis", {"text": PRAISE}),
            lane="intake",
            describe=lambda result: f"{result['sentiment']}, {result['confidence']:.2f}",
            is_true=lambda result: result["sentiment"] == "positive",
        ),
        WorkerExample(
            make_task("text_summarization", {"text": REPORT, "max_length": 200}),
            lane="llm",
            describe=lambda result: f"“{result['summary']}”",
            is_true=_is_of_report,
        ),
        WorkerExample(
            make_task("translation", {"text": PORTUGUESE, "target_lang": "en"}),
            lane="llm",
            describe=lambda result: f"{result['source_language']}: “{result['translation']}”",
            is_true=lambda result: "nine silos" in result["translation"].lower(),
        ),
    ]


def read_media(name: str, media_type: str) -> str:
    """Return a file of the folder `media` as a `data:` URI."""
    data = base64.b64encode((MEDIA / name).read_bytes()).decode()
    return f"data:{media_type};base64,{data}"


def make_task(task_type: str, task_input: Mapping[str, Any]) -> ExampleTask:
    """Return a task of a type in the dialect of the workers' service."""
    return ExampleTask(
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:example-worker-task:{task_type}")),
            "task_type": task_type,
            "status": "pending",
            "input_data": dict(task_input),
            "parameters": {},
            "job_id": "examples",
            "retry_count": 0,
            "max_retries": 3,
        }
    )


def _is_of_report(result: Result) -> bool:
    places = [(REPORT[place["start"] : place["end"]], place) for place in result["sentences"]]
    is_verbatim = all(text == place["text"] for text, place in places)
    return is_verbatim and 0 < result["summary_length"] <= 200  # noqa: PLR2004 - as it is asked


def _is_harbour(result: Result) -> bool:
    said = str(result["transcription"]).lower()
    return "grain" in said and ("harbour" in said or "harbor" in said)


def _describe_sound(result: Result) -> str:
    loudness, features = result["loudness"], result["spectral_features"]
    return (
        f"{result['duration']:.1f} s, {result['sample_rate']} Hz, {loudness} LUFS, "
        f"centre of its spectrum at {features['centroid']['mean']:.0f} Hz"
    )
