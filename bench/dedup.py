"""How fast new items are compared with 100,000 saved ones, and how well duplicates are found.

    python -m bench.dedup [--write] [EXISTING]

Embeds the labelled items with the local model, fits its calibration anew and says how far it is
from the one that comes with Aletheia; `--write` puts it in its place. There is no LLM here: the
judge of the figures knows the labels, so what it adds is the most that a judge can add. How many
pairs reach a judge is counted on the labelled items and on what the mock writes for the departments
of the demo, batch after batch as a gather run has them; there it says of none that it is one, after
which as many pairs are asked about as ever can be.

semhash gets its vectors from memory, as we do. Most of its time it looks for equal texts among all
saved ones, which it does anew in each call.
"""

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.table import Table
from semhash import SemHash

from aletheia.items.calibration import (
    DUPLICATE_AT,
    Accuracy,
    Calibration,
    calibration_file,
    measure_accuracy,
    shipped_calibration,
)
from aletheia.items.calibration_fitting import calibrate
from aletheia.items.content import item_id
from aletheia.items.dedup import Deduplicator, Judge
from aletheia.items.item_index import Entry, ItemIndex, make_entry
from aletheia.items.labelled_pairs import (
    NEAREST,
    LabelledPair,
    LabelledText,
    Split,
    pair_up,
    read_texts,
)
from aletheia.items.word_vectors import WordVectors
from bench.dedup_corpus import (
    MODEL,
    NEW,
    Corpus,
    LabelJudge,
    SilentJudge,
    Vectors,
    embed_everything,
    embed_texts,
    embed_words,
    make_corpus,
    write_demo,
)
from bench.figures import console, describe_machine, find_missed, print_json
from deployments.examples.departments import EXAMPLE_TEXTS

ROUNDS: Final = 21

BOUNDS: Final[Mapping[str, tuple[str, float]]] = {
    "vs_brute_force": ("max", 1.1),
    "recall": ("min", 0.99),
    "judged_share": ("max", 0.05),
}


async def fit(vectors: Mapping[Split, Vectors]) -> Calibration:
    """Fit the model's calibration."""
    known = {
        labelled.text: row
        for split, rows in vectors.items()
        for labelled, row in zip(read_texts(split), rows, strict=True)
    }

    async def embed(texts: Sequence[str]) -> Vectors:
        rows = known if set(texts) <= set(known) else await embed_texts(texts)
        return np.stack([rows[text] for text in texts])

    return await calibrate(MODEL, embed)


async def measure_labelled(
    split: Split, vectors: Vectors, deduplicator: Deduplicator
) -> dict[str, Accuracy]:
    """Classify the pairs of a split in several ways."""
    texts = read_texts(split)
    pairs = pair_up(texts)
    is_duplicate = np.array([pair.is_duplicate for pair in pairs])
    wide = vectors.astype(np.float64)
    cosines = np.array([wide[pair.one] @ wide[pair.other] for pair in pairs])
    oracle = LabelJudge({str(at): text for at, text in enumerate(texts)})
    calibration = deduplicator.calibration
    called = {
        "plain cosine at 0.90": cosines >= DUPLICATE_AT,
        "calibrated cosine": cosines >= calibration.to_cosine(DUPLICATE_AT),
        "cascade": await _call(deduplicator, texts, pairs, vectors, None),
        "cascade, judge by labels": await _call(deduplicator, texts, pairs, vectors, oracle),
    }
    return {name: measure_accuracy(found, is_duplicate) for name, found in called.items()}


async def _call(
    deduplicator: Deduplicator,
    texts: Sequence[LabelledText],
    pairs: Sequence[LabelledPair],
    vectors: Vectors,
    judge: Judge | None,
) -> NDArray[np.bool_]:
    """Return which pairs the cascade calls duplicates, one text saved and the other new."""
    called: list[bool] = []
    for pair in pairs:
        index = ItemIndex(MODEL, vectors.shape[1])
        index.add([str(pair.one)], [texts[pair.one].text], vectors[[pair.one]])
        item = _entry(str(pair.other), texts[pair.other].text, vectors[pair.other])
        (decision,) = await deduplicator.deduplicate([item], index, judge)
        called.append(not decision.is_kept)
    return np.array(called)


def _entry(item_id: str, text: str, vector: NDArray[Any]) -> Entry:
    return make_entry(item_id, text, vector, len(vector))


async def measure_judged_share(split: Split, vectors: Vectors, deduplicator: Deduplicator) -> float:
    """Take each text as new and all others of its split as saved; count what is judged."""
    texts = read_texts(split)
    judge = LabelJudge({str(at): text for at, text in enumerate(texts)})
    index = ItemIndex(MODEL, vectors.shape[1])
    index.add([str(at) for at in range(len(texts))], [text.text for text in texts], vectors)
    for at, text in enumerate(texts):
        index.remove([str(at)])
        await deduplicator.deduplicate([_entry(str(at), text.text, vectors[at])], index, judge)
        index.add([str(at)], [text.text], vectors[[at]])
    return judge.judged / (NEAREST * len(texts))


async def measure_demo_share(
    batches: Sequence[Sequence[str]],
    vectors: Mapping[str, NDArray[np.float32]],
    deduplicator: Deduplicator,
) -> float:
    """Gather the demo's items, and count what is judged of each one's nearest saved ones."""
    index = ItemIndex(MODEL, len(vectors[EXAMPLE_TEXTS[0]]))
    saved = np.stack([vectors[text] for text in EXAMPLE_TEXTS])
    index.add([f"theirs-{at}" for at in range(len(saved))], EXAMPLE_TEXTS, saved)
    judge, pairs = SilentJudge(), 0
    for batch in batches:
        pairs += len(batch) * min(NEAREST, len(index))
        items = [_entry(item_id(text), text, vectors[text]) for text in batch]
        decisions = await deduplicator.deduplicate(items, index, judge)
        kept = [item for item, decision in zip(items, decisions, strict=True) if decision.is_kept]
        if kept:
            rows = np.stack([item.vector for item in kept])
            index.add([item.id for item in kept], [item.text for item in kept], rows)
    return judge.judged / pairs


def search_brute_force(
    existing: Vectors, new: Vectors, min_cosine: float
) -> list[list[tuple[int, float]]]:
    """Find neighbours with numpy alone, in float32: row and cosine, nearest first."""
    found: list[list[tuple[int, float]]] = []
    for cosines in new @ existing.T:
        rows = np.flatnonzero(cosines >= min_cosine)
        rows = rows[np.argsort(-cosines[rows])]
        found.append(list(zip(rows.tolist(), cosines[rows].tolist(), strict=True)))
    return found


async def measure_speed(corpus: Corpus, deduplicator: Deduplicator) -> dict[str, float]:
    """Measure the search and the cascade beside their rivals, in turns."""
    process = psutil.Process()
    before = process.memory_info().rss
    began = time.perf_counter()
    index = ItemIndex(MODEL, corpus.vectors.shape[1])
    index.add([str(n) for n in range(len(corpus.existing))], corpus.existing, corpus.vectors)
    build_s = time.perf_counter() - began
    grown = process.memory_info().rss - before
    entries = corpus.batch
    new = np.stack([entry.vector for entry in entries])
    calibration = deduplicator.calibration
    at, grey_from = calibration.to_cosine(DUPLICATE_AT), calibration.min_cosine
    rival = _build_semhash(corpus)
    theirs = [item.text for item in corpus.batch]
    seconds: dict[str, list[float]] = {"search": [], "brute": [], "cascade": [], "semhash": []}
    for _ in range(ROUNDS):
        for name, call in {
            "search": lambda: index.find_neighbours(entries, grey_from, 1000),
            "brute": lambda: search_brute_force(corpus.vectors, new, grey_from),
            "semhash": lambda: rival.deduplicate(theirs, threshold=at),
        }.items():
            seconds[name].append(_time(call))
        began = time.perf_counter()
        # Entries keep what they have worked out: new ones for each round.
        batch = [_entry(entry.id, entry.text, entry.vector) for entry in entries]
        await deduplicator.deduplicate(batch, index, SilentJudge())
        seconds["cascade"].append(time.perf_counter() - began)
    ms = {name: 1000 * median(rounds) for name, rounds in seconds.items()}
    recall = _measure_recall(index, corpus, entries, grey_from)
    began = time.perf_counter()
    index.add([item.id for item in corpus.batch], theirs, new)
    add_ms = 1000 * (time.perf_counter() - began)
    return {
        "vs_brute_force": ms["search"] / ms["brute"],
        "ms_search": ms["search"],
        "ms_brute_force": ms["brute"],
        "ms_total": ms["cascade"],
        "vs_semhash": ms["cascade"] / ms["semhash"],
        "ms_semhash": ms["semhash"],
        "recall": recall,
        "build_s": build_s,
        "build_mib": grown / 2**20,
        "add_ms": add_ms,
    }


def _measure_recall(
    index: ItemIndex, corpus: Corpus, entries: Sequence[Any], min_cosine: float
) -> float:
    """Compare what is found with every pair, in float64."""
    rows = corpus.vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = expected = 0
    for entry, near in zip(entries, index.find_neighbours(entries, min_cosine, 1000), strict=True):
        there = set(np.flatnonzero(rows @ entry.vector.astype(np.float64) >= min_cosine).tolist())
        expected += len(there)
        found += len(there & {int(match.entry.id) for match in near})
    return found / expected


class _Lookup:
    """Gives semhash the vectors that we have, so that no time is spent on embedding."""

    def __init__(self, vectors: Mapping[str, Vectors]) -> None:
        self._vectors = vectors

    def encode(self, inputs: Sequence[str], **_: Any) -> Vectors:
        return np.stack([self._vectors[text] for text in inputs])


def _build_semhash(corpus: Corpus) -> Any:
    known = dict(zip(corpus.existing, corpus.vectors, strict=True))
    known |= {item.text: np.asarray(item.vector, np.float32) for item in corpus.batch}
    untyped: Any = SemHash
    return untyped.from_records(list(corpus.existing), model=_Lookup(known))


def _time(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


async def main(existing: int, *, is_written: bool) -> None:
    """Measure everything and print the figures."""
    batches = await write_demo()
    vectors, of_demo = await embed_everything(batches)
    fitted = await fit(vectors)
    if is_written:
        _write(fitted)
    shipped = shipped_calibration(MODEL)
    drift = measure_drift(shipped, fitted)
    labelled = [text.text for split in vectors for text in read_texts(split)]
    words: WordVectors = await embed_words([*labelled, *of_demo])
    deduplicator = Deduplicator(shipped, words=words)
    accuracies: dict[Split, dict[str, Accuracy]] = {
        split: await measure_labelled(split, vectors[split], deduplicator) for split in vectors
    }
    shares = {
        split: await measure_judged_share(split, vectors[split], deduplicator) for split in vectors
    }
    demo_share = await measure_demo_share(batches, of_demo, deduplicator)
    gc.collect()
    speed = await measure_speed(make_corpus(existing, vectors), deduplicator)
    figures: dict[str, Any] = {
        **{name: round(value, 4) for name, value in speed.items()},
        "existing": existing,
        "new": NEW,
        "semhash": version("semhash"),
        "judged_share": round(max(*shares.values(), demo_share), 4),
        "judged_share_labelled": {split: round(share, 4) for split, share in shares.items()},
        "judged_share_demo": round(demo_share, 4),
        "demo_items": sum(map(len, batches)),
        "drop_at": shipped.unjudged_from,
        "calibration_error": shipped.calibration_error,
        "calibration_drift": round(drift, 6),
        "judge": "the labels themselves (an oracle, no model)",
        "f1": {name: round(one.f1, 3) for name, one in accuracies["test"].items()},
        "accuracy": {
            split: {
                name: {
                    "precision": round(one.precision, 3),
                    "recall": round(one.recall, 3),
                    "f1": round(one.f1, 3),
                }
                for name, one in of_split.items()
            }
            for split, of_split in accuracies.items()
        },
    }
    figures["missed"] = find_missed(figures, BOUNDS)
    _print_tables(figures, accuracies)
    print_json(figures | describe_machine())


def measure_drift(shipped: Calibration, fitted: Calibration) -> float:
    """Return how far the weights of two calibrations are from each other, at most."""
    if shipped.similarity is None or fitted.similarity is None:
        return 1.0
    pairs = zip(shipped.similarity.weights, fitted.similarity.weights, strict=True)
    return max(abs(one.weight - other.weight) for one, other in pairs)


def _write(calibration: Calibration) -> None:
    """Replace the calibration that comes with Aletheia."""
    path = Path(str(calibration_file(calibration.model)))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(calibration), indent=2) + "\n")


def _print_tables(
    figures: Mapping[str, Any], accuracies: Mapping[Split, Mapping[str, Accuracy]]
) -> None:
    speed = Table(title=f"{NEW} new items against {figures['existing']:,}", title_justify="left")
    for title in ("", "ms", "ours is"):
        speed.add_column(title, justify="left" if not title else "right")
    speed.add_row("candidate search", f"{figures['ms_search']:.1f}", "")
    speed.add_row(
        "numpy brute force", f"{figures['ms_brute_force']:.1f}", f"{figures['vs_brute_force']:.2f}"
    )
    speed.add_row("whole cascade", f"{figures['ms_total']:.1f}", "")
    speed.add_row("semhash", f"{figures['ms_semhash']:.1f}", f"{figures['vs_semhash']:.3f}")
    out = console()
    out.print(speed)
    for split, of_split in accuracies.items():
        pairs = next(iter(of_split.values()))
        quality = Table(
            title=f"{split} split: {pairs.pairs} pairs, {pairs.duplicates} duplicates",
            title_justify="left",
        )
        for title in ("", "precision", "recall", "F1"):
            quality.add_column(title, justify="left" if not title else "right")
        for name, one in of_split.items():
            quality.add_row(name, f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
        out.print(quality)
    out.print(
        f"recall of the search {figures['recall']:.3f}; of the {NEAREST} nearest at most "
        f"{figures['judged_share']:.3f} are judged, {figures['judged_share_demo']:.3f} of the "
        f"demo's; calibration {figures['calibration_drift']:.6f} from the shipped one; "
        f"missed: {', '.join(figures['missed']) or 'nothing'}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("existing", nargs="?", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="replace the calibration we ship")
    given = parser.parse_args()
    asyncio.run(main(given.existing, is_written=given.write))
