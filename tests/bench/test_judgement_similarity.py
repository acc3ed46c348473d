"""What the similarity bench measures with, and the material it measures on, as it is read."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.items.labelled_pairs import SPLITS, read_texts
from bench.dedup_corpus import MODEL
from bench.judgement import material
from bench.judgement.material import Corpus, CorpusItem, Pair
from bench.judgement.similarity import (
    Oracle,
    call_pairs,
    measure_calibration_error,
    measure_corpora,
)
from tests.aletheia.items.scales import make_scale

LANGUAGES = {"en", "de", "es", "fr"}


@pytest.mark.parametrize("read", [material.read_minimal_pairs, material.read_paraphrases])
def test_there_are_400_pairs_in_four_languages_none_twice(read: Callable[[], list[Pair]]):
    pairs = read()
    assert len(pairs) >= 400
    assert {pair.language for pair in pairs} == LANGUAGES
    assert len({frozenset({pair.a, pair.b}) for pair in pairs}) == len(pairs)


def test_corpora_have_repetitions_in_four_languages():
    corpora = material.read_corpora()
    assert {corpus.language for corpus in corpora} == LANGUAGES
    for corpus in corpora:
        groups = [item.group for item in corpus.items]
        assert len(set(groups)) < len(groups)


def test_nothing_of_it_is_what_the_scale_is_fitted_to():
    fitted = {text.text for split in SPLITS for text in read_texts(split)}
    pairs = [*material.read_minimal_pairs(), *material.read_paraphrases()]
    own = {text for pair in pairs for text in (pair.a, pair.b)}
    own |= {item.text for corpus in material.read_corpora() for item in corpus.items}
    assert fitted.isdisjoint(own)


def test_scores_that_are_shares_have_no_calibration_error_and_others_their_distance():
    scores = np.array([0.25] * 4 + [0.95] * 20)
    labels = np.array([True] + [False] * 3 + [True] * 19 + [False])
    assert measure_calibration_error(scores, labels) == pytest.approx(0)
    assert measure_calibration_error(np.ones(10), np.zeros(10, bool)) == pytest.approx(1)


BELLS = (
    "Whoever works at the gate rings the bell when a lorry comes in.",
    "Arriving trucks are announced by those on gate duty, who sound a chime.",
)
"""One point in other words."""

GATES = (
    "Paint each garden gate green with a broad brush every spring.",
    "Count the tins of lacquer that are left in the cellar once a month.",
)


def spread(texts: Sequence[str], *rows: Sequence[float]) -> dict[str, NDArray[np.float32]]:
    return {text: np.array(row, np.float32) for text, row in zip(texts, rows, strict=True)}


async def test_a_pair_counts_as_dropped_in_either_order():
    scale = make_scale(MODEL)
    pair = Pair(language="en", kind="close", a=BELLS[0], b=BELLS[1])
    called = await call_pairs([pair], spread(BELLS, [1, 0], [1, 0.001]), scale, None)
    assert called.by_kind == {"close (en)": "1 of 1"}
    assert called.pairs == [BELLS]
    far = spread(BELLS, [1, 0], [0, 1])
    called = await call_pairs([pair], far, scale, Oracle(lambda _: True))
    assert called.by_kind == {"close (en)": "0 of 1"}


async def test_a_drop_is_right_only_where_the_match_is_labelled():
    texts = (*BELLS, *GATES)
    groups = zip(texts, ("bells", "bells", "gates", "paint"), strict=True)
    items = tuple(CorpusItem(text=text, group=group) for text, group in groups)
    corpus = Corpus(language="en", topic="p", items=items)
    vectors = spread(texts, [1, 0, 0], [1, 0.001, 0], [0, 1, 0], [0, 1, 0.001])
    figures, details = await measure_corpora([corpus], vectors, make_scale(MODEL))
    assert figures["drop_recall"] == 1
    assert figures["drop_precision"] == 0.5
    assert figures["recall_with_judge"] == 1
    assert len(details["wrongly_dropped"]["p"]) == 2
