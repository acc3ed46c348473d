"""Sentiment beside plain VADER, on rated sentences that are held out."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.analysis.sentiment_reading import Reading, SentimentReader
from aletheia.settings import EmbeddingSettings
from aletheia.text.polarity import CLEAR, score_compound
from bench.accuracy.snippets import SOURCES, Snippet, read_snippets
from bench.dedup_corpus import MODEL

HELD_OUT: Final = Path(__file__).parents[1] / "data" / "sentiment" / "held_out.yaml"

MARGINS: Final = {"tweets": -0.03, "films": 0.0, "products": 0.0, "news": 0.0}
"""How much better than VADER it must be at least, by source."""

BOUNDS: Final[Mapping[str, tuple[str, float]]] = {
    **{f"sentiment_{source}_gain": ("min", margin) for source, margin in MARGINS.items()},
    "sentiment_flips": ("min", 0.95),
    "sentiment_neutral": ("min", 0.9),
}

_BATCH: Final = 64


@asynccontextmanager
async def open_reader() -> AsyncGenerator[SentimentReader]:
    """Make what reads sentiment, with the local model."""
    embedder = LocalEmbedder(EmbeddingSettings(default_embedding_model=MODEL))
    await embedder.open()
    try:
        yield SentimentReader(embedder)
    finally:
        await embedder.close()


def measure() -> dict[str, float]:
    """Return figures of all sources, of negated pairs, neutral statements and emotions."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    written: dict[str, Any] = yaml.safe_load(HELD_OUT.read_text("utf-8"))
    snippets = [snippet for snippet in read_snippets() if snippet.is_held_out]
    async with open_reader() as reader:
        readings = await read_all(reader, [snippet.text for snippet in snippets])
        figures = compare(snippets, readings)
        figures |= await measure_written(reader, written)
    alone = await read_all(SentimentReader(), [snippet.text for snippet in snippets])
    by_words = compare(snippets, alone)
    lexicon = {f"sentiment_{source}_lexicon": by_words[f"sentiment_{source}"] for source in SOURCES}
    return figures | lexicon | {"sentiment_texts": float(len(snippets))}


async def read_all(reader: SentimentReader, texts: Sequence[str]) -> list[Reading]:
    """Read texts, many at a time, in order."""
    found: list[Reading] = []
    for start in range(0, len(texts), _BATCH):
        found += await reader.read(texts[start : start + _BATCH])
    return found


def compare(snippets: Sequence[Snippet], readings: Sequence[Reading]) -> dict[str, float]:
    """Return the shares of right signs, ours and VADER's, and of right classes, by source.

    Signs are of all sentences whose mean rating is not 0; classes of all, with VADER's own bounds
    for its classes.
    """
    figures: dict[str, float] = {}
    for source in SOURCES:
        pairs = [
            (snippet, reading, score_compound(snippet.text))
            for snippet, reading in zip(snippets, readings, strict=True)
            if snippet.source == source
        ]
        signed = [pair for pair in pairs if pair[0].rating]
        ours = _share([_sign(read) == (snippet.rating > 0) for snippet, read, _ in signed])
        theirs = _share([(score >= 0) == (snippet.rating > 0) for snippet, _, score in signed])
        figures |= {
            f"sentiment_{source}": ours,
            f"sentiment_{source}_vader": theirs,
            f"sentiment_{source}_gain": ours - theirs,
            f"sentiment_{source}_classes": _share(
                [read.sentiment == snippet.label for snippet, read, _ in pairs]
            ),
            f"sentiment_{source}_classes_vader": _share(
                [_name(score) == snippet.label for snippet, _, score in pairs]
            ),
            f"sentiment_{source}_error": _calibration_error(pairs),
        }
    return figures


async def measure_written(reader: SentimentReader, written: Mapping[str, Any]) -> dict[str, float]:
    """Return shares of negated pairs that flip, of neutral statements, and of emotions found."""
    pairs: list[list[str]] = written["negated_pairs"]
    flat = await read_all(reader, [text for pair in pairs for text in pair])
    flips = [
        good.sentiment == "positive" and bad.sentiment == "negative"
        for good, bad in zip(flat[::2], flat[1::2], strict=True)
    ]
    neutral = await read_all(reader, written["neutral"])
    shown = [(text, name) for name, texts in written["emotions"].items() for text in texts]
    emotions = await read_all(reader, [text for text, _ in shown])
    return {
        "sentiment_flips": _share(flips),
        "sentiment_neutral": _share([found.sentiment == "neutral" for found in neutral]),
        "emotions_first": _share(
            [
                max(found.scores.emotions, key=found.scores.emotions.__getitem__) == name
                for found, (_, name) in zip(emotions, shown, strict=True)
            ]
        ),
        "emotions_in_neutral": _share(
            [max(found.scores.emotions.values()) >= 0.5 for found in neutral]
        ),
    }


def _sign(reading: Reading) -> bool:
    return reading.scores.sentiments["positive"] >= reading.scores.sentiments["negative"]


def _name(score: float) -> str:
    return "positive" if score >= CLEAR else "negative" if score <= -CLEAR else "neutral"


def _calibration_error(pairs: Sequence[tuple[Snippet, Reading, float]]) -> float:
    """Return by how much confidence and share of right classes differ, in ten bands, on average."""
    confidences = np.array([reading.confidence for _, reading, _ in pairs])
    right = np.array([reading.sentiment == snippet.label for snippet, reading, _ in pairs], float)
    bands = np.minimum((confidences * 10).astype(int), 9)
    gaps = [
        (bands == band).mean()
        * abs(confidences[bands == band].mean() - right[bands == band].mean())
        for band in np.unique(bands)
    ]
    return float(sum(gaps))


def _share(outcomes: Sequence[bool]) -> float:
    return sum(outcomes) / max(1, len(outcomes))
