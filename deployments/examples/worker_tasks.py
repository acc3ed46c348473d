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

RUMOUR: Final = "The repairs of the silos cost 2.4 million euros and end in March."
"""What `report.pdf` says otherwise: 1.8 million."""

REPORT_PAGES: Final = 2

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
    report = read_media("report.pdf", "application/pdf")
    return [
        *text_examples(),
        *sound_examples(harbour),
        *document_examples(report),
        WorkerExample(
            make_task(
                "multimodal_analysis", {"text": RUMOUR, "audio": harbour, "document": report}
            ),
            lane="media",
            describe=_describe_fusion,
            is_true=_has_agreement_and_conflict,
        ),
    ]


def sound_examples(harbour: str) -> list[WorkerExample]:
    """Return a task of each type for recordings."""
    return [
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


def document_examples(report: str) -> list[WorkerExample]:
    """Return a task of each type for documents."""
    return [
        WorkerExample(
            make_task("pdf_analysis", {"pdf_file": report}),
            lane="media",
            describe=_describe_document,
            is_true=lambda result: result["page_count"] == REPORT_PAGES,
        ),
        WorkerExample(
            make_task("document_summarization", {"document_file": report}),
            lane="media",
            describe=lambda result: f"“{result['summary']}”",
            is_true=lambda result: "silos" in result["summary"],
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


def _describe_document(result: Result) -> str:
    analysis = result["analysis"]
    terms = ", ".join(term["term"] for term in analysis["key_terms"][:3])
    return f"{result['page_count']} pages, language {analysis['language']}, about {terms}"


def _describe_fusion(result: Result) -> str:
    fused = result["fused_analysis"]
    found = [
        f"{len(fused[kind])} {kind}, such as: {fused[kind][0]['statement']}"
        for kind in ("conflicts", "agreements")
        if fused[kind]
    ]
    return "; ".join(found) or "nothing in common"


def _has_agreement_and_conflict(result: Result) -> bool:
    """Whether it is found that the rumour contradicts the report, and the recording does not."""
    fused = result["fused_analysis"]
    places = [{place["modality"] for place in found["places"]} for found in fused["conflicts"]]
    return {"text", "document"} in places and bool(fused["agreements"])


def _describe_sound(result: Result) -> str:
    loudness, features = result["loudness"], result["spectral_features"]
    return (
        f"{result['duration']:.1f} s, {result['sample_rate']} Hz, {loudness} LUFS, "
        f"centre of its spectrum at {features['centroid']['mean']:.0f} Hz"
    )
