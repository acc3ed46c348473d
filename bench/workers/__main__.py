"""What workers cost, and what hostile files do to them: `python -m bench.workers`.

Parts: `pdf` (500 pages in a child beside bare pypdfium2), `mutations` (2,000 damaged files a type),
`media` (an embedding's latency beside media at work), `lanes` (two workers against one; faulty
types beside sound ones), `models` (int8 beside full precision),
`analysis` and `speech` (recordings in a child beside the bare libraries), `sounds` (2,000 damaged
recordings a type), `texts` (beside the bare calls of libraries).
Prints a table, and one JSON object on its last line; figures beyond their bounds are `missed`.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.ports import DocumentType
from bench.figures import console, describe_machine, find_missed, print_json
from bench.workers.audio import measure_analysis, measure_speech
from bench.workers.audio_mutations import make_samples, run_audio_mutations
from bench.workers.lanes import measure_faults, measure_two_workers
from bench.workers.media import measure_media
from bench.workers.models import measure_int8
from bench.workers.mutations import Outcome, run_mutations
from bench.workers.pdf import PAGES, measure_pdf
from bench.workers.texts import measure_texts
from tests.fakes.samples import (
    make_docx,
    make_html,
    make_markdown,
    make_pdf,
    make_text,
    sentences,
)

PARTS: Final = (
    *("pdf", "mutations", "media", "lanes", "models"),
    *("analysis", "speech", "sounds", "texts"),
)

MINUTES: Final = 60.0
"""How long the recordings play whose memory is measured."""

BOUNDS: Final[Mapping[str, tuple[str, float]]] = {
    "pdf_ratio": ("max", 1.1),
    "unexpected": ("max", 0),
    "peak_share": ("max", 1.0),
    "embedding_p95_with_media": ("max", 1.2),
    "lane_two_workers": ("min", 1.8),
    "rate_beside_faults": ("min", 0.9),
    "int8_speed_up": ("min", 1.2),
    "int8_mean_cosine": ("min", 0.98),
    "analysis_overhead": ("max", 1.1),
    "analysis_mb": ("max", 100),
    "speech_overhead": ("max", 1.1),
    "speech_mb": ("max", 700),
    "speech_rtf": ("max", 0.3),
    "sounds_unexpected": ("max", 0),
    "sounds_peak_share": ("max", 1.0),
    "sentiment_overhead": ("max", 1.1),
    "summary_overhead": ("max", 1.1),
    "translation_overhead": ("max", 1.1),
}

SAMPLES: Final[Mapping[DocumentType, bytes]] = {
    "pdf": make_pdf([sentences(10), sentences(10, 10), ""], pictures=(3,)),
    "docx": make_docx(),
    "html": make_html(),
    "markdown": make_markdown(),
    "text": make_text(),
}
"""What is damaged: small, so that damage hits what matters."""

WORDS_PER_PAGE: Final = 30
"""Sentences of a page: some 450 words, as a full one has."""


def make_report(pages: int = PAGES) -> bytes:
    """Make a PDF with many full pages."""
    texts = [sentences(WORDS_PER_PAGE, number * WORDS_PER_PAGE) for number in range(pages)]
    return make_pdf(texts)


async def main(parts: Sequence[str], files: int, seed: int, minutes: float) -> None:
    """Measure some parts and print their figures."""
    figures: dict[str, float] = {}
    details: dict[str, Any] = {}
    if "pdf" in parts:
        figures |= await measure_pdf(make_report())
    if "texts" in parts:
        figures |= await measure_texts()
    if "mutations" in parts:
        outcomes = [await run_mutations(SAMPLES, type_, files, seed=seed) for type_ in SAMPLES]
        limit = DecoderSettings().decoder_memory_max
        figures["unexpected"] = sum(len(outcome.unexpected) for outcome in outcomes)
        figures["peak_share"] = max(outcome.peak_bytes for outcome in outcomes) / limit
        details = {outcome.type: describe(outcome) for outcome in outcomes}
    if "media" in parts:
        figures |= await measure_media()
    if "lanes" in parts:
        figures |= {**await measure_two_workers(), **await measure_faults()}
    if "models" in parts:
        figures |= await asyncio.to_thread(measure_int8)
    if "analysis" in parts:
        figures |= await measure_analysis(minutes)
    if "speech" in parts:
        figures |= await measure_speech(minutes)
    if "sounds" in parts:
        sounds = make_samples()
        outcomes = [await run_audio_mutations(sounds, name, files, seed=seed) for name in sounds]
        limit = AudioSettings().audio_memory_max
        figures["sounds_unexpected"] = sum(len(outcome.unexpected) for outcome in outcomes)
        figures["sounds_peak_share"] = max(outcome.peak_bytes for outcome in outcomes) / limit
        details |= {outcome.type: describe(outcome) for outcome in outcomes}
    show(figures, details)
    bounds = {name: bound for name, bound in BOUNDS.items() if name in figures}
    rounded = {name: round(value, 4) for name, value in figures.items()}
    missed = find_missed(figures, bounds)
    print_json({**rounded, "mutations": details, "missed": missed, **describe_machine()})


def describe(outcome: Outcome) -> dict[str, Any]:
    """Return what became of one type's files."""
    return {
        "files": outcome.files,
        "codes": dict(outcome.codes.most_common()),
        "lost_pages": outcome.lost_pages,
        "ms_a_file": round(1000 * outcome.seconds / max(1, outcome.files), 2),
        "resident_mb": round(outcome.resident_bytes / 1e6),
        "unexpected": outcome.unexpected,
    }


def show(figures: Mapping[str, float], details: Mapping[str, Any]) -> None:
    """Print the figures for people."""
    out = console()
    table = Table(title="Workers", title_justify="left")
    for title in ("figure", "measured", "bound"):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for name, value in figures.items():
        side, bound = BOUNDS.get(name, ("", 0.0))
        sign = "≤" if side == "max" else "≥"
        table.add_row(name, f"{value:.3f}", f"{sign} {bound:g}" if side else "")
    out.print(table)
    if details:
        out.print_json(data=details)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"what to measure, of {', '.join(PARTS)}; all")
    parser.add_argument("--files", type=int, default=2000, help="damaged files a type")
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of long recordings")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no parts: {', '.join(sorted(unknown))}")
    asyncio.run(main(asked.parts or PARTS, asked.files, asked.seed, asked.minutes))
