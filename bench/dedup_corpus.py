"""What the dedup bench compares: labelled items, the mock's, a large corpus; and its judges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.adapters.mock.chat import MOCK_MODEL, MockChat
from aletheia.analysis.ports import Embedding
from aletheia.gather.generation import GenerationPlan, generate_items
from aletheia.gather.prompts.generate_items import PromptContext
from aletheia.items.dedup import Question, Verdict
from aletheia.items.departments import Department
from aletheia.items.item_index import Entry, make_entry
from aletheia.items.labelled_pairs import SPLITS, LabelledText, Split, read_texts
from aletheia.items.similarity import list_words
from aletheia.items.word_vectors import WordVectors
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.messages import Completion
from aletheia.settings import EmbeddingSettings
from deployments.examples.departments import EXAMPLE_DEPARTMENTS, EXAMPLE_TEXTS

MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"

NEW: Final = 10
DEMO_ITERATIONS: Final = 6
"""Of each department of the demo; a run of the demo has fewer in all."""

Vectors = NDArray[np.float32]


class LabelJudge:
    """Knows the labels: an oracle, and no model.

    Args:
        texts: by their ids, what is known about them.
    """

    def __init__(self, texts: Mapping[str, LabelledText]) -> None:
        self._texts = texts
        self.judged = 0

    async def __call__(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        """Return the labels of each pair."""
        self.judged += len(questions)
        return [
            self._answer(self._texts[question.new_id], self._texts[question.other_id])
            for question in questions
        ]

    def _answer(self, one: LabelledText, other: LabelledText) -> Verdict:
        is_duplicate = one.group == other.group and not one.kind and not other.kind
        return Verdict(is_duplicate, "labels", "as labelled")


class SilentJudge:
    """Answers at once that no pair is one, so that only our own time is measured."""

    def __init__(self) -> None:
        self.judged = 0

    async def __call__(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        """Judge every pair as distinct."""
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
    batch: Sequence[Entry]


class NoAnswers(SavedAnswers):
    """Keeps no answer, so that each is written anew."""

    def __init__(self) -> None:
        """Need no store."""

    async def find(self, step: str) -> Completion | None:
        """Return none."""
        del step
        return None

    async def save(self, step: str, completion: Completion) -> None:
        """Save nothing."""
        del step, completion


async def write_demo() -> list[list[str]]:
    """Return what the mock writes for the demo's departments, in the order of a run."""
    batches: list[list[str]] = []
    for example in EXAMPLE_DEPARTMENTS:
        if not (example.is_listed and example.is_good):
            continue
        department = Department.model_validate(example.document)
        for iteration in range(1, DEMO_ITERATIONS + 1):
            batch = await generate_items(
                MockChat(),
                NoAnswers(),
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
    splits: dict[Split, list[str]] = {
        split: [labelled.text for labelled in read_texts(split)] for split in SPLITS
    }
    vectors = await embed_texts([*(text for split in splits.values() for text in split), *texts])
    labelled: dict[Split, Vectors] = {
        split: np.stack([vectors[text] for text in own]) for split, own in splits.items()
    }
    return labelled, {text: vectors[text] for text in texts}


async def embed_texts(texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Embed texts, each over its full length."""
    unique = list(dict.fromkeys(texts))
    embedder = LocalEmbedder(EmbeddingSettings(default_embedding_model=MODEL, long_text="chunk"))
    found: dict[str, NDArray[np.float32]] = {}
    await embedder.open()
    try:
        async for group in embedder.embed(MODEL, unique):
            for answer in group:
                if not isinstance(answer.result, Embedding):
                    raise answer.result
                found[unique[answer.index]] = np.asarray(answer.result.vector, np.float32)
    finally:
        await embedder.close()
    return found


async def embed_words(texts: Sequence[str]) -> WordVectors:
    """Embed the words of texts, once for all that is measured."""

    async def embed(words: Sequence[str]) -> Vectors:
        found = await embed_texts(words)
        return np.stack([found[word] for word in words])

    words = WordVectors(embed)
    await words.prepare(sorted(list_words(texts)))
    return words


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
        make_entry(f"new-{n}", " ".join(reversed(texts[at].split())), vector, len(vector))
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
