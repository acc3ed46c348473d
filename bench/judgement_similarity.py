"""Whether what is called similar is so, on material that nothing is fitted on.

    python -m bench.judgement_similarity [--existing N] [--show]

The material is in `bench/data/judgement`. Oracles know its labels; there is no LLM here.

    minimal_pairs_dropped  pairs that differ in a number, a unit, a name …, dropped without a judge
    paraphrases_recalled   share of the pairs that make one point, dropped with an oracle as judge
    drop_precision         share of repetitions in what is dropped without a judge, in sets as runs
                           hold them; `drop_recall` is the share of the repetitions dropped
    calibration_error      expected, ten bins, over each item's 20 nearest
    judged_share           of those pairs, what a judge is asked about
    recall_with_judge      share of the repetitions dropped with an oracle as judge
    ms_total               time of ten new items against 100,000 saved ones
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import yaml

from aletheia.items.calibration import shipped_calibration
from aletheia.items.labelled_pairs import read_texts
from bench.dedup_corpus import MODEL, embed_texts, embed_words
from bench.figures import console, describe_machine, find_missed, print_json
from bench.judgement.material import Corpus, Pair
from bench.judgement.similarity import Oracle, call_pairs, measure_corpora, measure_ms

DATA: Final = Path(__file__).with_name("data") / "judgement"

EXISTING: Final = 100_000

BOUNDS: Final[Mapping[str, tuple[str, float]]] = {
    "minimal_pairs_dropped": ("max", 0),
    "paraphrases_recalled": ("min", 0.95),
    "drop_precision": ("min", 0.97),
    "drop_recall": ("min", 0.50),
    "calibration_error": ("max", 0.05),
    "judged_share": ("max", 0.05),
    "ms_total": ("max", 40),
}


async def measure_similarity() -> dict[str, float]:
    """Measure what is dropped, with and without a judge, and how long it takes."""
    figures, _ = await measure_similarity_in_detail(EXISTING)
    return figures


async def measure_similarity_in_detail(
    existing: int,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the figures of `measure_similarity`, and what lies behind them."""
    minimal, paraphrases, corpora = read_minimal_pairs(), read_paraphrases(), read_corpora()
    texts = [text for pair in (*minimal, *paraphrases) for text in (pair.a, pair.b)]
    texts += [text for corpus in corpora for text in corpus.items]
    vectors = await embed_texts(texts)
    # The items of `measure_ms` are made of the labelled ones.
    words = await embed_words([*texts, *(labelled.text for labelled in read_texts("test"))])
    calibration = shipped_calibration(MODEL)
    differing = await call_pairs(minimal, vectors, calibration, None, words)
    oracle = Oracle(lambda _: True)
    same = await call_pairs(paraphrases, vectors, calibration, oracle, words)
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


def read_minimal_pairs() -> list[Pair]:
    """Read texts that align but for a few words, and differ in meaning."""
    return [Pair.model_validate(row) for row in _read("minimal_pairs")]


def read_paraphrases() -> list[Pair]:
    """Read texts that make one point in other words."""
    return [Pair.model_validate({"kind": "paraphrase"} | row) for row in _read("paraphrases")]


def read_corpora() -> list[Corpus]:
    """Read the sets of items of one topic each, with what repeats what."""
    return [_make_corpus(row) for row in _read("candidates")]


def _make_corpus(row: Mapping[str, Any]) -> Corpus:
    items: Sequence[Mapping[str, Any]] = row["items"]
    return Corpus(
        language=row["language"],
        project=f"{row['topic']} ({row['language']})",
        department=row["topic"],
        description="",
        items=tuple(item["text"] for item in items),
        repeats=tuple(
            (one, other)
            for one, other in combinations(range(len(items)), 2)
            if items[one]["group"] == items[other]["group"]
        ),
    )


def _read(name: str) -> list[dict[str, Any]]:
    text = (DATA / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.CSafeLoader)


async def main(existing: int, *, is_shown: bool) -> None:
    """Measure everything and print the figures."""
    figures, details = await measure_similarity_in_detail(existing)
    if is_shown:
        console().print_json(data=details)
    missed = find_missed(figures, BOUNDS)
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print_json({**rounded, "missed": missed, **describe_machine()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.judgement_similarity")
    parser.add_argument("--existing", type=int, default=EXISTING, help="items of `ms_total`")
    parser.add_argument("--show", action="store_true", help="print what was judged wrongly")
    asked = parser.parse_args()
    asyncio.run(main(asked.existing, is_shown=asked.show))
