"""What the dedup bench measures with."""

import numpy as np

from aletheia.items.calibration import identity
from aletheia.items.dedup import Deduplicator, Question
from aletheia.items.labelled_pairs import LabelledText
from bench.dedup import measure_demo_share, search_brute_force
from bench.dedup_corpus import DEMO_ITERATIONS, MODEL, LabelJudge, make_corpus, write_demo
from deployments.examples.departments import EXAMPLE_DEPARTMENTS, EXAMPLE_TEXTS


def question(new_id: str, other_id: str) -> Question:
    return Question("", new_id, other_id, "", "")


async def test_the_oracle_knows_the_labels_and_nothing_else():
    judge = LabelJudge(
        {
            "item": LabelledText("topic", 0, "…", ""),
            "same": LabelledText("topic", 0, "…", ""),
            "other": LabelledText("topic", 0, "…", "number"),
            "group": LabelledText("topic", 1, "…", ""),
        }
    )
    verdicts = await judge([question("item", other) for other in ("same", "other", "group")])
    assert [verdict.is_duplicate for verdict in verdicts] == [True, False, False]
    assert judge.judged == 3


def test_new_items_of_the_corpus_have_neighbours_from_far_to_near():
    random = np.random.default_rng(1)
    labelled = random.standard_normal((40, 64)).astype(np.float32)
    labelled /= np.linalg.norm(labelled, axis=1, keepdims=True)
    corpus = make_corpus(200, {"test": labelled})
    nearest = [float((corpus.vectors @ entry.vector).max()) for entry in corpus.batch]
    assert 0.4 < nearest[0] < 0.65
    assert 0.9 < nearest[-1] < 1
    assert len(set(corpus.existing)) == 200


def test_brute_force_finds_neighbours_nearest_first():
    existing = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    ((first, second),) = search_brute_force(existing, np.array([[0, 1]], np.float32), 0.5)
    assert (first[0], second[0]) == (1, 2)


async def test_the_demo_is_written_batch_by_batch_for_those_who_take_part():
    batches = await write_demo()
    departments = [
        department
        for department in EXAMPLE_DEPARTMENTS
        if department.is_listed and department.is_good
    ]
    assert len(batches) == DEMO_ITERATIONS * len(departments)
    assert min(map(len, batches)) >= 5
    assert batches == await write_demo()


async def test_of_the_demo_what_is_near_is_judged_and_nothing_else():
    batches = [["One thing is said here.", "Another is said there."], ["A third is said anywhere."]]
    texts = [*EXAMPLE_TEXTS, *(text for batch in batches for text in batch)]
    apart = dict(zip(texts, np.eye(len(texts), dtype=np.float32), strict=True))
    plain = Deduplicator(identity(MODEL))
    assert await measure_demo_share(batches, apart, plain) == 0
    near = dict(apart)
    near[batches[1][0]] = (apart[batches[0][0]] + 0.5 * apart[texts[0]]).astype(np.float32)
    saved = len(EXAMPLE_TEXTS)
    assert await measure_demo_share(batches, near, plain) == 1 / (2 * saved + saved + 2)
