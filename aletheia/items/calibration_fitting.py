"""Fitting an embedding model's scale to the labelled items (SPEC §4, Dedup)."""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.errors import BudgetExceeded, Deferred
from aletheia.items.calibration import (
    DUPLICATE_AT,
    GREY_FROM,
    JUDGED_FROM,
    UNJUDGED_COSINE_FROM,
    Accuracy,
    Calibration,
    measure_accuracy,
)
from aletheia.items.labelled_pairs import (
    OTHER_GROUP,
    OTHER_POINT,
    SPLITS,
    LabelledPair,
    LabelledText,
    hash_labels,
    pair_candidates,
    read_texts,
)
from aletheia.items.similarity import (
    find_alignment,
    is_measurable,
    list_words,
    measure_features,
    measure_word_nearness,
)
from aletheia.items.similarity_fitting import (
    Candidates,
    PairKind,
    find_threshold,
    fit_logistic,
    fit_model,
    measure_calibration_error,
    measure_reliability,
    predict,
    predict_left_out,
    weigh_pairs,
)
from aletheia.items.word_vectors import Embed, WordVectors
from aletheia.store.clock import SYSTEM_CLOCK

log = logging.getLogger(__name__)

REACH_SPREADS: Final = 4.0
"""Standard deviations below the mean raw cosine of labelled repetitions that are compared still:
free rewordings of one sentence are farther from each other than those of a paragraph."""

MIN_AUC: Final = 0.6
"""Chance that a repetition has a higher cosine than another pair: 0.5 is none."""

KNOTS_AT: Final = (0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
"""Probabilities whose raw cosines are the knots."""

EMBEDDED_AT_ONCE: Final = 256
"""Texts that are embedded anew, at most, where a limit of the provider's ends a call."""


def fit_calibration(
    model: str, fitted_on: Candidates, held_out: Candidates, word_nearness: float
) -> Calibration:
    """Fit a model's scale to labelled pairs, and test it on others.

    Raises:
        ValueError: there are not both kinds of pairs, a feature is not finite, or cosines do not
            tell the pairs apart.
    """
    for candidates in (fitted_on, held_out):
        _check_cosines(candidates)
    knots = _fit_knots(fitted_on)
    fitted_on, held_out = (_guard_far(candidates, knots) for candidates in (fitted_on, held_out))
    similarity = fit_model(fitted_on, word_nearness)
    left_out = predict_left_out(fitted_on, word_nearness)
    chances = predict(similarity, held_out.features)
    drop_at = find_threshold([(left_out, fitted_on), (chances, held_out)], DUPLICATE_AT)
    near = fitted_on.cosines[fitted_on.is_duplicate]
    reach = float(near.mean() - REACH_SPREADS * near.std())
    bins = measure_reliability(chances, held_out)
    return Calibration(
        model,
        knots,
        fitted=_measure_drops(left_out, fitted_on, drop_at),
        tested=_measure_drops(chances, held_out, drop_at),
        similarity=similarity,
        drop_at=drop_at,
        grey_from=GREY_FROM,
        judged_from=JUDGED_FROM,
        reach=round(max(-1.0, reach), 6),
        reliability=bins,
        calibration_error=round(measure_calibration_error(bins), 6),
    )


async def calibrate(model: str, embed: Embed) -> Calibration:
    """Fit a model's scale to the labelled pairs, and test it on those that nothing is fitted on.

    Where a limit of the provider's is reached, it waits until that allows more.

    Raises:
        ValueError: its vectors cannot tell the pairs apart.
        Deferred: no wait helps, as where a budget is spent.
    """

    async def embed_all(texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        pages = range(0, len(texts), EMBEDDED_AT_ONCE)
        embedded = [await _embed_page(embed, texts[at : at + EMBEDDED_AT_ONCE]) for at in pages]
        return np.concatenate(embedded)

    words = WordVectors(embed_all)
    splits: list[tuple[Sequence[LabelledText], NDArray[np.float64]]] = []
    for split in SPLITS:
        texts = read_texts(split)
        plain = [text.text for text in texts]
        vectors = (await embed_all(plain)).astype(np.float64)
        splits.append((texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))
        await words.prepare(sorted(list_words(plain)))
    # In a thread: it takes a minute, in which leases are renewed.
    fitted = await asyncio.to_thread(_fit_splits, model, splits, words)
    return replace(fitted, labels=hash_labels())


async def _embed_page(embed: Embed, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
    while True:
        try:
            return await embed(texts)
        except BudgetExceeded:
            raise
        except Deferred as deferred:
            if deferred.until is None:
                raise
            log.info("%s; waiting until then", deferred)
            await asyncio.sleep(max(0.0, deferred.until.timestamp() - SYSTEM_CLOCK.unix_s()))


def _fit_splits(
    model: str,
    splits: Sequence[tuple[Sequence[LabelledText], NDArray[np.float64]]],
    words: WordVectors,
) -> Calibration:
    texts, units = splits[0]
    pairs = pair_candidates(texts, units)
    nearness = measure_word_nearness(
        [(texts[pair.one].text, texts[pair.other].text) for pair in pairs], words
    )
    fitted_on, held_out = (
        measure_candidates(texts, units, words, nearness) for texts, units in splits
    )
    return fit_calibration(model, fitted_on, held_out, nearness)


def measure_candidates(
    texts: Sequence[LabelledText],
    units: NDArray[np.float64],
    words: WordVectors,
    word_nearness: float,
) -> Candidates:
    """Measure the pairs of `pair_candidates`, in their order."""
    pairs = pair_candidates(texts, units)
    topics = {topic: at for at, topic in enumerate(dict.fromkeys(text.topic for text in texts))}
    rows: list[list[float]] = []
    for pair in pairs:
        cosine = min(1.0, max(-1.0, float(units[pair.one] @ units[pair.other])))
        one, other = texts[pair.one].text, texts[pair.other].text
        rows.append(measure_features(one, other, cosine, words, word_nearness))
    return Candidates(
        features=np.array(rows),
        is_duplicate=np.array([pair.is_duplicate for pair in pairs]),
        is_guarded=np.array(
            [_is_guarded(texts[pair.one].text, texts[pair.other].text) for pair in pairs]
        ),
        topics=np.array([topics[texts[pair.one].topic] for pair in pairs]),
        weights=weigh_pairs([_kind_of(texts, pair) for pair in pairs]),
    )


def _is_guarded(text: str, other: str) -> bool:
    """Return whether nothing but a judge may drop one of two texts, however probable it is."""
    is_known = is_measurable(text) and is_measurable(other)
    return not is_known or find_alignment(text, other).difference is not None


def _kind_of(texts: Sequence[LabelledText], pair: LabelledPair) -> PairKind:
    """Return how often such a pair is met, as a kind of `weigh_pairs`."""
    one, other = texts[pair.one], texts[pair.other]
    if one.is_of_department and other.is_of_department and one.topic == other.topic:
        return "of a department"
    if pair.is_duplicate:
        return "repetition"
    if pair.kind in {OTHER_GROUP, OTHER_POINT}:
        return "other"
    return "variant" if one.is_item or other.is_item else "variant in other words"


def _check_cosines(candidates: Candidates) -> None:
    """Check that repetitions have higher cosines than other pairs, as far as that goes."""
    cosines, is_duplicate = candidates.cosines, candidates.is_duplicate
    if is_duplicate.all() or not is_duplicate.any():
        raise ValueError("there must be duplicates and other pairs to tell apart")
    if not (np.abs(cosines) <= 1 + 1e-6).all():
        raise ValueError("every pair needs a cosine")
    others = np.sort(cosines[~is_duplicate])
    below = np.searchsorted(others, cosines[is_duplicate], side="left")
    upto = np.searchsorted(others, cosines[is_duplicate], side="right")
    auc = float((below + upto).mean() / 2 / len(others))
    if auc < MIN_AUC:
        raise ValueError(f"of a repetition and another pair, {auc:.0%} have the higher cosine")


def _fit_knots(candidates: Candidates) -> tuple[tuple[float, float], ...]:
    """Return the raw cosines that alone have some probabilities."""
    cosines, sample = candidates.cosines[:, np.newaxis], candidates.weights
    (weight,), bias = fit_logistic(cosines, candidates.is_duplicate, sample)
    knots = [(0.0, 0.0)]
    for chance in KNOTS_AT:
        at = (math.log(chance / (1 - chance)) - bias) / float(weight) if weight > 0 else 1.0
        if knots[-1][0] < at < 1:
            knots.append((round(at, 6), chance))
    return (*knots, (1.0, 1.0))


def _guard_far(candidates: Candidates, knots: tuple[tuple[float, float], ...]) -> Candidates:
    """Return pairs of which those are guarded, too, whose cosines alone are not sure enough."""
    cosines, scores = zip(*knots, strict=True)
    is_far = np.interp(candidates.cosines, cosines, scores) < UNJUDGED_COSINE_FROM
    return replace(candidates, is_guarded=candidates.is_guarded | is_far)


def _measure_drops(
    chances: NDArray[np.float64], candidates: Candidates, drop_at: float | None
) -> Accuracy:
    """Return how accurate it is to drop pairs from a threshold on, or from `DUPLICATE_AT`."""
    called = chances >= (DUPLICATE_AT if drop_at is None else drop_at)
    is_dropped = called & ~candidates.is_guarded
    return measure_accuracy(is_dropped, candidates.is_duplicate, candidates.weights)
