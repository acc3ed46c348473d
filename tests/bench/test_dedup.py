"""What the dedup bench measures with."""

import numpy as np

from aletheia.gather.dedup import Question
from aletheia.gather.labelled import LabelledText
from bench.dedup import LabelJudge, make_corpus, search_brute_force


def question(new_id: str, other_id: str) -> Question:
    return Question("", new_id, other_id, "", "", 0.7, None)


async def test_the_oracle_knows_the_labels_and_nothing_else():
    judge = LabelJudge(
        {
            "item": LabelledText("topic", 0, "…", ""),
            "same": LabelledText("topic", 0, "…", ""),
            "other": LabelledText("topic", 0, "…", "number"),
            "group": LabelledText("topic", 1, "…", ""),
        }
    )
    verdicts = await judge.judge([question("item", one) for one in ("same", "other", "group")])
    assert [one.is_duplicate for one in verdicts] == [True, False, False]
    assert judge.judged == 3


def test_new_items_of_the_corpus_have_neighbours_from_far_to_near():
    random = np.random.default_rng(1)
    labelled = random.standard_normal((40, 64)).astype(np.float32)
    labelled /= np.linalg.norm(labelled, axis=1, keepdims=True)
    corpus = make_corpus(200, {"test": labelled})
    nearest = [float((corpus.vectors @ one.vector).max()) for one in corpus.batch]
    assert 0.4 < nearest[0] < 0.65
    assert 0.9 < nearest[-1] < 1
    assert len(set(corpus.existing)) == 200


def test_brute_force_finds_neighbours_nearest_first():
    existing = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    ((first, second),) = search_brute_force(existing, np.array([[0, 1]], np.float32), 0.5)
    assert (first[0], second[0]) == (1, 2)
