"""What deduplication drops, of pairs and of what runs hold."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.items.calibration import Calibration, shipped_calibration
from aletheia.items.dedup import Decision, Deduplicator, Judge, Question, Verdict
from aletheia.items.item_index import ItemIndex, make_entry
from aletheia.items.labelled_pairs import NEAREST, read_texts
from aletheia.items.word_vectors import WordVectors
from aletheia.text.differences import align_texts
from aletheia.text.facts import read_facts
from aletheia.text.normalisation import normalise
from aletheia.text.word_parts import read_parts
from aletheia.text.wording import read_wording
from bench.dedup_corpus import MODEL, SilentJudge, embed_texts, embed_words, make_corpus
from bench.judgement import material
from bench.judgement.material import Corpus, Pair

BINS: Final = 10
"""Of the calibration error, equally wide on the scale."""

ROUNDS: Final = 11

Vectors = Mapping[str, NDArray[np.float32]]


async def measure_similarity(existing: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Measure what is dropped, with and without a judge, and how long it takes.

    Args:
        existing: saved items of `ms_total`.

    Returns:
        The figures by name, and what lies behind them.
    """
    minimal, paraphrases = material.read_minimal_pairs(), material.read_paraphrases()
    corpora = material.read_corpora()
    texts = [text for pair in (*minimal, *paraphrases) for text in (pair.a, pair.b)]
    texts += [item.text for corpus in corpora for item in corpus.items]
    vectors = await embed_texts(texts)
    # The items of `measure_ms` are made of the labelled ones.
    words = await embed_words([*texts, *(labelled.text for labelled in read_texts("test"))])
    calibration = shipped_calibration(MODEL)
    differing = await call_pairs(minimal, vectors, calibration, None, words)
    same = await call_pairs(paraphrases, vectors, calibration, Oracle(lambda _: True), words)
    figures, details = await measure_corpora(corpora, vectors, calibration, words)
    figures |= {
        "minimal_pairs_dropped": float(differing.dropped.total()),
        "paraphrases_recalled": same.dropped.total() / same.total.total(),
        "ms_total": await measure_ms(existing, calibration, vectors, words),
    }
    details |= {
        "minimal_pairs": differing.by_kind,
        "minimal_pairs_dropped": differing.pairs,
        "paraphrases": same.by_kind,
    }
    return figures, details


@dataclass(slots=True)
class Oracle:
    """Answers as a function decides: no model."""

    is_duplicate: Callable[[Question], bool]
    judged: int = 0

    async def __call__(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        """Return the truth about each pair."""
        self.judged += len(questions)
        return [Verdict(self.is_duplicate(question), "oracle", "") for question in questions]


@dataclass(slots=True)
class Called:
    """How many of what kind were called duplicates."""

    total: Counter[str] = field(default_factory=Counter[str])
    dropped: Counter[str] = field(default_factory=Counter[str])
    pairs: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # what was dropped

    def add(self, kind: str, *, is_dropped: bool) -> None:
        """Count one."""
        self.total[kind] += 1
        self.dropped[kind] += is_dropped

    @property
    def by_kind(self) -> dict[str, str]:
        """Dropped ones of all, by kind."""
        return {kind: f"{self.dropped[kind]} of {total}" for kind, total in self.total.items()}


async def call_pairs(
    pairs: Sequence[Pair],
    vectors: Vectors,
    calibration: Calibration,
    judge: Judge | None,
    words: WordVectors | None = None,
) -> Called:
    """Save either text of each pair, and decide about the other one."""
    called = Called()
    deduplicator = Deduplicator(calibration, words=words)
    for pair in pairs:
        decisions = [
            await _decide(saved, new, vectors, deduplicator, judge)
            for saved, new in ((pair.a, pair.b), (pair.b, pair.a))
        ]
        # As a repetition counts what either order drops: a run may meet both.
        is_dropped = not all(decision.is_kept for decision in decisions)
        called.add(f"{pair.kind} ({pair.language})", is_dropped=is_dropped)
        if is_dropped:
            called.pairs.append((pair.a, pair.b))
    return called


async def _decide(
    saved: str, new: str, vectors: Vectors, deduplicator: Deduplicator, judge: Judge | None
) -> Decision:
    index = ItemIndex(MODEL, len(vectors[saved]))
    index.add(["saved"], [saved], vectors[saved][np.newaxis])
    item = make_entry("new", new, vectors[new], index.dimensions)
    (decision,) = await deduplicator.deduplicate([item], index, judge)
    return decision


async def measure_corpora(
    corpora: Sequence[Corpus],
    vectors: Vectors,
    calibration: Calibration,
    words: WordVectors | None = None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Take each item as new and all others of its corpus as saved."""
    tally = _Tally()
    deduplicator = Deduplicator(calibration, words=words)
    for corpus in corpora:
        await _measure_corpus(corpus, vectors, deduplicator, tally)
    dropped = tally.right + tally.wrong
    figures = {
        "drop_precision": tally.right / dropped if dropped else 1.0,
        "drop_recall": tally.right / tally.there if tally.there else 1.0,
        "calibration_error": measure_calibration_error(
            np.array(tally.scores), np.array(tally.labels)
        ),
        "judged_share": tally.judged / tally.pairs if tally.pairs else 0.0,
        "recall_with_judge": tally.right_judged / tally.there if tally.there else 1.0,
    }
    details = {"wrongly_dropped": tally.mistakes, "dropped": dropped, "repetitions": tally.there}
    return figures, details


@dataclass(slots=True)
class _Tally:
    """What was counted so far."""

    right: int = 0  # dropped without a judge for what they repeat
    wrong: int = 0
    right_judged: int = 0  # the same with an oracle
    there: int = 0  # items that repeat another one
    judged: int = 0
    pairs: int = 0  # of an item and one of its nearest
    scores: list[float] = field(default_factory=list[float])
    labels: list[bool] = field(default_factory=list[bool])
    mistakes: dict[str, list[list[str]]] = field(default_factory=dict[str, list[list[str]]])


async def _measure_corpus(
    corpus: Corpus, vectors: Vectors, deduplicator: Deduplicator, tally: _Tally
) -> None:
    same = _find_groups(corpus)
    tally.there += sum(len(group) > 1 for group in same)
    texts = [item.text for item in corpus.items]
    rows = np.stack([vectors[text] for text in texts])
    index = ItemIndex(MODEL, rows.shape[1])
    index.add([str(place) for place in range(len(rows))], texts, rows)
    oracle = Oracle(_by_groups(same))
    for place, text in enumerate(texts):
        index.remove([str(place)])
        item = make_entry(str(place), text, rows[place], index.dimensions)
        (decision,) = await deduplicator.deduplicate([item], index)
        if not decision.is_kept:
            matched = int(decision.match_id or -1)
            if matched in same[place]:
                tally.right += 1
            else:
                tally.wrong += 1
                tally.mistakes.setdefault(corpus.topic, []).append([text, texts[matched]])
        (decision,) = await deduplicator.deduplicate([item], index, oracle)
        tally.right_judged += not decision.is_kept and len(same[place]) > 1
        index.add([str(place)], [text], rows[[place]])
        for other, score in _score_nearest(texts, place, rows, deduplicator):
            tally.scores.append(score)
            tally.labels.append(other in same[place])
    tally.judged += oracle.judged
    tally.pairs += len(texts) * min(NEAREST, len(texts) - 1)


def _score_nearest(
    texts: Sequence[str], place: int, rows: NDArray[np.float32], deduplicator: Deduplicator
) -> Iterator[tuple[int, float]]:
    """Yield the nearest of an item, and the score of each pair."""
    cosines = rows.astype(np.float64) @ rows[place].astype(np.float64)
    cosines[place] = -np.inf
    nearest: list[int] = np.argsort(-cosines)[: min(NEAREST, len(rows) - 1)].tolist()
    for other in nearest:
        cosine = min(1.0, float(cosines[other]))
        score = deduplicator.calibration.measure(
            texts[place], texts[other], cosine, deduplicator.words
        )
        yield other, cosine if score is None else score


def _find_groups(corpus: Corpus) -> list[frozenset[int]]:
    """Return, for each item, the places of all that make its point, its own among them."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(corpus.items):
        places.setdefault(item.group, []).append(place)
    return [frozenset(places[item.group]) for item in corpus.items]


def _by_groups(same: Sequence[frozenset[int]]) -> Callable[[Question], bool]:
    return lambda question: int(question.other_id) in same[int(question.new_id)]


def measure_calibration_error(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.bool_]
) -> float:
    """Return the expected calibration error: mean distance of score and share, by bins' sizes."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    error = 0.0
    for number in range(BINS):
        chosen = bins == number
        if chosen.any():
            error += chosen.mean() * abs(float(scores[chosen].mean() - labels[chosen].mean()))
    return error


async def measure_ms(
    existing: int,
    calibration: Calibration,
    vectors: Vectors,
    words: WordVectors | None = None,
) -> float:
    """Return how long ten new items take beside so many saved ones, ms, the median of rounds.

    Each round begins without what an earlier one has read of texts; words have their vectors.
    """
    labelled = np.stack(list(vectors.values()))
    corpus = make_corpus(existing, {"test": labelled})
    index = ItemIndex(MODEL, corpus.vectors.shape[1])
    index.add([str(n) for n in range(existing)], corpus.existing, corpus.vectors)
    deduplicator = Deduplicator(calibration, words=words)
    times: list[float] = []
    for _ in range(ROUNDS):
        for read in (normalise, read_facts, read_wording, read_parts, align_texts):
            read.cache_clear()
        began = time.perf_counter()
        batch = [
            make_entry(entry.id, entry.text, entry.vector, index.dimensions)
            for entry in corpus.batch
        ]
        await deduplicator.deduplicate(batch, index, SilentJudge())
        times.append(1000 * (time.perf_counter() - began))
    return median(times)
