"""How fast new items are compared with 100,000 saved ones, and how well duplicates are told.

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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.table import Table
from semhash import SemHash

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.mock.chat import MOCK_MODEL, MockChat
from aletheia.analysis.ports import Embedding
from aletheia.gather.generation import GenerationPlan, generate_items
from aletheia.gather.models import PromptContext
from aletheia.items.calibration import (
    DUPLICATE_AT,
    Accuracy,
    Calibration,
    calibrate,
    calibration_file,
    measure_accuracy,
    shipped_calibration,
)
from aletheia.items.content import item_id
from aletheia.items.dedup import Deduplicator
from aletheia.items.departments import Department
from aletheia.items.duplicates import Judge, NewItem, Question, Verdict
from aletheia.items.item_index import ItemIndex, make_entry
from aletheia.items.labelled import LabelledPair, LabelledText, Split, pair_up, read_texts
from aletheia.llm.messages import Completion
from bench.figures import console, describe_machine, print_json
from deployments.examples.departments import EXAMPLE_TEXTS, example_departments

MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"

NEW: Final = 10
ROUNDS: Final = 21
NEAREST: Final = 20
"""Of the pairs of an item and its that many nearest, so many reach the judge."""

DEMO_ITERATIONS: Final = 6
"""Of each department of the demo; a run of the demo has fewer in all."""

BOUNDS: Final[Mapping[str, tuple[str, float]]] = {
    "vs_brute_force": ("most", 1.1),
    "recall": ("least", 0.99),
    "judged_share": ("most", 0.05),
}

Vectors = NDArray[np.float32]


class LabelJudge:
    """Knows the labels: an oracle, and no model.

    Args:
        texts: by their ids, what is known about them.
    """

    def __init__(self, texts: Mapping[str, LabelledText]) -> None:
        self._texts = texts
        self.judged = 0

    async def judge(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        """Say of each pair what the labels say."""
        self.judged += len(questions)
        return [
            self._answer(self._texts[one.new_id], self._texts[one.other_id]) for one in questions
        ]

    def _answer(self, one: LabelledText, other: LabelledText) -> Verdict:
        is_duplicate = one.group == other.group and not one.kind and not other.kind
        return Verdict(is_duplicate, "labels", "as labelled")


class SilentJudge:
    """Answers at once that no pair is one, so that only our own time is measured."""

    def __init__(self) -> None:
        self.judged = 0

    async def judge(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        """Tell all pairs apart."""
        self.judged += len(questions)
        return [Verdict(False, "none", "") for _ in questions]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Items in memory.

    Attributes:
        existing: saved texts.
        vectors: `(n, d)` of them, unit length.
        batch: new items.
    """

    existing: Sequence[str]
    vectors: Vectors
    batch: Sequence[NewItem]


class _NoAnswers:
    """Keeps no answer, so that each is written anew."""

    async def find(self, step: str) -> Completion | None:
        """Know of none."""
        del step
        return None

    async def save(self, step: str, completion: Completion) -> None:
        """Let go of it."""
        del step, completion


async def write_demo() -> list[list[str]]:
    """Have the mock write for the departments of the demo: batches in the order of a run."""
    batches: list[list[str]] = []
    for example in example_departments():
        if not (example.is_listed and example.is_good):
            continue
        department = Department.model_validate(example.document)
        for iteration in range(1, DEMO_ITERATIONS + 1):
            batch = await generate_items(
                MockChat(),
                _NoAnswers(),
                department,
                iteration,
                PromptContext(),
                plan=GenerationPlan(MOCK_MODEL),
            )
            batches.append([item.content for item in batch.items])
    return batches


async def embed_everything(
    batches: Sequence[Sequence[str]],
) -> tuple[dict[Split, Vectors], dict[str, NDArray[np.float32]]]:
    """Embed what is compared over its full text.

    Args:
        batches: of the demo.

    Returns:
        Both labelled splits, `(n, d)` each, and the vectors of the demo's texts by text.
    """
    texts = [*EXAMPLE_TEXTS, *(text for batch in batches for text in batch)]
    embedder = LocalEmbedder(default_model=MODEL, long_text="chunk")
    await embedder.open()
    try:
        labelled: dict[Split, Vectors] = {
            split: await _embed(embedder, [one.text for one in read_texts(split)])
            for split in ("calibration", "test")
        }
        return labelled, dict(zip(texts, await _embed(embedder, texts), strict=True))
    finally:
        await embedder.close()


async def _embed(embedder: LocalEmbedder, texts: Sequence[str]) -> Vectors:
    found: dict[int, Vectors] = {}
    async for group in embedder.embed(MODEL, texts):
        for one in group:
            if not isinstance(one.result, Embedding):
                raise one.result
            found[one.index] = one.result.vector
    return np.stack([found[index] for index in range(len(texts))])


async def fit(vectors: Mapping[Split, Vectors]) -> Calibration:
    """Fit the model's calibration."""
    by_texts = {
        tuple(one.text for one in read_texts(split)): rows for split, rows in vectors.items()
    }

    async def embed(texts: Sequence[str]) -> Vectors:
        return by_texts[tuple(texts)]

    return await calibrate(MODEL, embed)


async def measure_labelled(
    split: Split, vectors: Vectors, calibration: Calibration
) -> dict[str, Accuracy]:
    """Tell the pairs of a split apart in several ways."""
    texts = read_texts(split)
    pairs = pair_up(texts)
    is_duplicate = np.array([pair.is_duplicate for pair in pairs])
    wide = vectors.astype(np.float64)
    cosines = np.array([wide[pair.one] @ wide[pair.other] for pair in pairs])
    oracle = LabelJudge({str(at): text for at, text in enumerate(texts)})
    deduplicator = Deduplicator(calibration)
    called = {
        "plain cosine at 0.90": cosines >= DUPLICATE_AT,
        "calibrated cosine": cosines >= calibration.to_cosine(DUPLICATE_AT),
        "cascade": await _call(deduplicator, texts, pairs, vectors, None),
        "cascade, judge by labels": await _call(deduplicator, texts, pairs, vectors, oracle),
    }
    return {name: measure_accuracy(one, is_duplicate) for name, one in called.items()}


async def _call(
    deduplicator: Deduplicator,
    texts: Sequence[LabelledText],
    pairs: Sequence[LabelledPair],
    vectors: Vectors,
    judge: Judge | None,
) -> NDArray[np.bool_]:
    """Say which pairs the cascade takes for duplicates, one being saved and the other new."""
    called: list[bool] = []
    for pair in pairs:
        index = ItemIndex(MODEL, vectors.shape[1])
        index.add([str(pair.one)], [texts[pair.one].text], vectors[[pair.one]])
        item = NewItem(str(pair.other), texts[pair.other].text, vectors[pair.other])
        (decision,) = await deduplicator.deduplicate([item], index, judge)
        called.append(not decision.is_kept)
    return np.array(called)


async def measure_judged_share(split: Split, vectors: Vectors, calibration: Calibration) -> float:
    """Take each text as new and all others of its split as saved; count what is judged."""
    texts = read_texts(split)
    judge = LabelJudge({str(at): text for at, text in enumerate(texts)})
    deduplicator = Deduplicator(calibration)
    for at, text in enumerate(texts):
        others = [other for other in range(len(texts)) if other != at]
        index = ItemIndex(MODEL, vectors.shape[1])
        index.add([str(o) for o in others], [texts[o].text for o in others], vectors[others])
        await deduplicator.deduplicate([NewItem(str(at), text.text, vectors[at])], index, judge)
    return judge.judged / (NEAREST * len(texts))


async def measure_demo_share(
    batches: Sequence[Sequence[str]],
    vectors: Mapping[str, NDArray[np.float32]],
    calibration: Calibration,
) -> float:
    """Gather the demo's items, and count what is judged of each one's nearest saved ones."""
    index = ItemIndex(MODEL, len(vectors[EXAMPLE_TEXTS[0]]))
    saved = np.stack([vectors[text] for text in EXAMPLE_TEXTS])
    index.add([f"theirs-{at}" for at in range(len(saved))], EXAMPLE_TEXTS, saved)
    judge, deduplicator, pairs = SilentJudge(), Deduplicator(calibration), 0
    for batch in batches:
        pairs += len(batch) * min(NEAREST, len(index))
        items = [NewItem(item_id(text), text, vectors[text]) for text in batch]
        decisions = await deduplicator.deduplicate(items, index, judge)
        kept = [item for item, one in zip(items, decisions, strict=True) if one.is_kept]
        if kept:
            rows = np.stack([item.vector for item in kept])
            index.add([item.id for item in kept], [item.text for item in kept], rows)
    return judge.judged / pairs


def make_corpus(existing: int, vectors: Mapping[Split, Vectors], *, seed: int = 7) -> Corpus:
    """Make many items around the labelled ones, and new ones near to some of them.

    Texts are sentences of the labelled items, shuffled together. Vectors lie around theirs, at a
    cosine of 0.6 to it on average, so that items of one topic have neighbours; a new one is at
    0.5 to 0.95 to a saved one.
    """
    random = np.random.default_rng(seed)
    sentences: list[str] = [
        sentence
        for split in vectors
        for text in read_texts(split)
        for sentence in text.text.split(". ")
    ]
    chosen = random.integers(0, len(sentences), (existing, 3))
    rows: list[list[int]] = chosen.tolist()
    texts = [". ".join([*(sentences[at] for at in three), str(n)]) for n, three in enumerate(rows)]
    centres = np.concatenate(list(vectors.values()))
    around = _near(centres[random.integers(0, len(centres), existing)], 0.6, random)
    picked: list[int] = random.choice(existing, NEW, replace=False).tolist()
    new = np.stack(
        [
            _near(around[[at]], cosine, random)[0]
            for at, cosine in zip(picked, np.linspace(0.5, 0.95, NEW), strict=True)
        ]
    )
    batch = [
        NewItem(f"new-{n}", " ".join(reversed(texts[at].split())), vector)
        for n, (at, vector) in enumerate(zip(picked, new, strict=True))
    ]
    return Corpus(texts, around, batch)


def _near(
    centres: NDArray[np.floating[Any]], cosine: float, random: np.random.Generator
) -> Vectors:
    """Make unit vectors at about a cosine to others, `(n, d)`."""
    noise = random.standard_normal(centres.shape, np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    mixed = cosine * centres + np.sqrt(1 - cosine**2) * noise
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def search_brute_force(
    existing: Vectors, new: Vectors, at_least: float
) -> list[list[tuple[int, float]]]:
    """Find neighbours with numpy alone, in float32: row and cosine, nearest first."""
    found: list[list[tuple[int, float]]] = []
    for cosines in new @ existing.T:
        rows = np.flatnonzero(cosines >= at_least)
        rows = rows[np.argsort(-cosines[rows])]
        found.append(list(zip(rows.tolist(), cosines[rows].tolist(), strict=True)))
    return found


async def measure_speed(corpus: Corpus, calibration: Calibration) -> dict[str, float]:
    """Measure the search and the cascade beside their rivals, in turns."""
    process = psutil.Process()
    before = process.memory_info().rss
    began = time.perf_counter()
    index = ItemIndex(MODEL, corpus.vectors.shape[1])
    index.add([str(n) for n in range(len(corpus.existing))], corpus.existing, corpus.vectors)
    build_s = time.perf_counter() - began
    grown = process.memory_info().rss - before
    entries = [make_entry(o.id, o.text, o.vector, index.dimensions) for o in corpus.batch]
    new = np.stack([entry.vector for entry in entries])
    deduplicator = Deduplicator(calibration)
    at, grey_from = deduplicator.duplicate_at_cosine, deduplicator.grey_from_cosine
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
        await deduplicator.deduplicate(corpus.batch, index, SilentJudge())
        seconds["cascade"].append(time.perf_counter() - began)
    ms = {name: 1000 * median(rounds) for name, rounds in seconds.items()}
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
        "recall": _measure_recall(index, corpus, entries, grey_from),
        "build_s": build_s,
        "build_mib": grown / 2**20,
        "add_ms": add_ms,
    }


def _measure_recall(
    index: ItemIndex, corpus: Corpus, entries: Sequence[Any], at_least: float
) -> float:
    """Compare what is found with every pair, in float64."""
    rows = corpus.vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = expected = 0
    for entry, near in zip(entries, index.find_neighbours(entries, at_least, 1000), strict=True):
        there = set(np.flatnonzero(rows @ entry.vector.astype(np.float64) >= at_least).tolist())
        expected += len(there)
        found += len(there & {one.row for one in near})
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
    drift = max(
        abs(shipped.to_cosine(score) - fitted.to_cosine(score))
        for score in (0.80, DUPLICATE_AT, 0.97)
    )
    accuracies: dict[Split, dict[str, Accuracy]] = {
        split: await measure_labelled(split, vectors[split], shipped) for split in vectors
    }
    shares = {
        split: await measure_judged_share(split, vectors[split], shipped) for split in vectors
    }
    demo_share = await measure_demo_share(batches, of_demo, shipped)
    gc.collect()
    speed = await measure_speed(make_corpus(existing, vectors), shipped)
    figures: dict[str, Any] = {
        **{name: round(value, 4) for name, value in speed.items()},
        "existing": existing,
        "new": NEW,
        "semhash": version("semhash"),
        "judged_share": round(max(*shares.values(), demo_share), 4),
        "judged_share_labelled": {split: round(share, 4) for split, share in shares.items()},
        "judged_share_demo": round(demo_share, 4),
        "demo_items": sum(map(len, batches)),
        "duplicate_at_cosine": shipped.to_cosine(DUPLICATE_AT),
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
    figures["missed"] = [
        name
        for name, (side, bound) in BOUNDS.items()
        if (figures[name] > bound if side == "most" else figures[name] < bound)
    ]
    _print_tables(figures, accuracies)
    print_json(figures | describe_machine())


def _write(calibration: Calibration) -> None:
    """Replace the calibration that comes with Aletheia."""
    path = Path(str(calibration_file(calibration.model)))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(calibration.to_document(), indent=2) + "\n")


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
        told = Table(
            title=f"{split} split: {pairs.pairs} pairs, {pairs.duplicates} duplicates",
            title_justify="left",
        )
        for title in ("", "precision", "recall", "F1"):
            told.add_column(title, justify="left" if not title else "right")
        for name, one in of_split.items():
            told.add_row(name, f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
        out.print(told)
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
