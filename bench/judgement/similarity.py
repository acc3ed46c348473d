"""What deduplication drops, of pairs and of what runs hold."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.items.calibration import Calibration
from aletheia.items.dedup import Decision, Deduplicator, Judge, Question, Verdict
from aletheia.items.item_index import ItemIndex, make_entry
from bench.dedup_corpus import MODEL, SilentJudge, make_corpus
from bench.judgement.material import Corpus, Pair

NEAREST: Final = 20
"""Saved items that an item is compared with: those nearest to it."""

BINS: Final = 10
"""Of the calibration error, equally wide on the scale."""

ROUNDS: Final = 11

Vectors = Mapping[str, NDArray[np.float32]]


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

    def add(self, kind: str, *, is_dropped: bool) -> None:
        """Count one."""
        self.total[kind] += 1
        self.dropped[kind] += is_dropped

    @property
    def by_kind(self) -> dict[str, str]:
        """Dropped ones of all, by kind."""
        return {kind: f"{self.dropped[kind]} of {total}" for kind, total in self.total.items()}


async def call_pairs(
    pairs: Sequence[Pair], vectors: Vectors, calibration: Calibration, judge: Judge | None
) -> Called:
    """Save either text of each pair, and decide about the other one."""
    called = Called()
    for pair in pairs:
        decisions = [
            await _decide(saved, new, vectors, calibration, judge)
            for saved, new in ((pair.a, pair.b), (pair.b, pair.a))
        ]
        # As a repetition counts what either order drops: a run may meet both.
        is_dropped = not all(decision.is_kept for decision in decisions)
        called.add(f"{pair.kind} ({pair.language})", is_dropped=is_dropped)
    return called


async def _decide(
    saved: str, new: str, vectors: Vectors, calibration: Calibration, judge: Judge | None
) -> Decision:
    index = ItemIndex(MODEL, len(vectors[saved]))
    index.add(["saved"], [saved], vectors[saved][np.newaxis])
    item = make_entry("new", new, vectors[new], index.dimensions)
    (decision,) = await Deduplicator(calibration).deduplicate([item], index, judge)
    return decision


async def measure_corpora(
    corpora: Sequence[Corpus], vectors: Vectors, calibration: Calibration
) -> tuple[dict[str, float], dict[str, Any]]:
    """Take each item as new and all others of its corpus as saved."""
    right = wrong = there = judged = items = 0
    scores: list[float] = []
    labels: list[bool] = []
    mistakes: dict[str, Any] = {}
    for corpus in corpora:
        same = _find_groups(corpus)
        there += sum(len(group) > 1 for group in same)
        rows = np.stack([vectors[text] for text in corpus.items])
        oracle = Oracle(_by_groups(same))
        false: list[list[str]] = []
        for place, text in enumerate(corpus.items):
            others = [other for other in range(len(corpus.items)) if other != place]
            index = ItemIndex(MODEL, rows.shape[1])
            index.add([str(o) for o in others], [corpus.items[o] for o in others], rows[others])
            item = make_entry(str(place), text, rows[place], index.dimensions)
            deduplicator = Deduplicator(calibration)
            (decision,) = await deduplicator.deduplicate([item], index)
            if not decision.is_kept:
                matched = int(decision.match_id or -1)
                is_right = matched in same[place]
                right, wrong = right + is_right, wrong + (not is_right)
                if not is_right:
                    false.append([text, corpus.items[matched]])
            await deduplicator.deduplicate([item], index, oracle)
            cosines = rows @ rows[place]
            cosines[place] = -np.inf
            for other in np.argsort(-cosines)[:NEAREST].tolist():
                scores.append(calibration.to_score(float(cosines[other])))
                labels.append(other in same[place])
        items += len(corpus.items)
        judged += oracle.judged
        mistakes[corpus.project] = false
    figures = {
        "drop_precision": right / (right + wrong) if right + wrong else 1.0,
        "drop_recall": right / there if there else 1.0,
        "calibration_error": measure_calibration_error(np.array(scores), np.array(labels)),
        "judged_share": judged / (NEAREST * items),
    }
    return figures, {"wrongly_dropped": mistakes, "dropped": right + wrong, "repetitions": there}


def _find_groups(corpus: Corpus) -> list[frozenset[int]]:
    """Return, for each item, the places of all that make its point, its own among them."""
    groups = [frozenset({place}) for place in range(len(corpus.items))]
    for earlier, later in corpus.repeats:
        joined = groups[earlier] | groups[later]
        for place in joined:
            groups[place] = joined
    return groups


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


async def measure_ms(existing: int, calibration: Calibration, vectors: Vectors) -> float:
    """Return how long ten new items take beside so many saved ones, ms, the median of rounds."""
    labelled = np.stack(list(vectors.values()))
    corpus = make_corpus(existing, {"test": labelled})
    index = ItemIndex(MODEL, corpus.vectors.shape[1])
    index.add([str(n) for n in range(existing)], corpus.existing, corpus.vectors)
    deduplicator = Deduplicator(calibration)
    times: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await deduplicator.deduplicate(corpus.batch, index, SilentJudge())
        times.append(1000 * (time.perf_counter() - began))
    return median(times)
