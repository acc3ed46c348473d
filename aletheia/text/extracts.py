"""Extractive summaries: the sentences that stand for a text best, in falling order.

Sentences are taken one after another, each time the one that adds most to how well all sentences of
the text are represented (facility location, Lin and Bilmes 2011,
https://aclanthology.org/P11-1052). A shorter summary is thus a part of every longer one.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aletheia.text.spans import Span
from aletheia.text.wording import STOP_WORDS, stem_word

MIN_WORDS: Final = 5
MAX_CHARS: Final = 600
"""Length of a sentence that a summary may have: neither a heading nor a table."""

LEAD_WEIGHT: Final = 0.6
"""How much more the first sentence of a text counts than one in its midst."""

LEAD_SENTENCES: Final = 12.0
"""Number of sentences within which that falls to a third."""

SHORT_TEXT: Final = 30
"""Sentences of a text that is read as news are: what matters comes first, and its first three
sentences are hard to beat (Nenkova 2005, https://aaai.org/papers/AAAI05-228)."""

SHORT_LEAD_WEIGHT: Final = 4.0
SHORT_LEAD_SENTENCES: Final = 3.0
"""The same two figures for such a text."""

LENGTH_POWER: Final = 0.3
"""How much what a sentence adds is divided by its length: 0 prefers long ones, 1 short ones."""

_WORD: Final = re.compile(r"[^\W\d_]{2,}|\d+")
_MIN_ALPHABETIC: Final = 0.6
_ENDED: Final = re.compile(
    r"[.!?\u2026\u3002\uff01\uff1f\u061f\u06d4\u0964][\"'\u201d\u00bb\u2019)\]\u300d]*$"
)
_MIN_WHOLE: Final = 3
_MIN_WHOLE_SHARE: Final = 0.3
_HASHED: Final = 4096

Vectors = NDArray[np.floating[Any]]


def is_candidate(sentence: Span) -> bool:
    """Check whether a sentence can stand in a summary."""
    shown = sentence.shown
    words = len(_WORD.findall(shown))
    alphabetic = sum(character.isalpha() or character.isspace() for character in shown)
    is_long = words >= MIN_WORDS or (not shown.isascii() and len(shown) >= 2 * MIN_WORDS)
    return is_long and len(shown) <= MAX_CHARS and alphabetic >= _MIN_ALPHABETIC * len(shown)


def choose_candidates(sentences: Sequence[Span]) -> list[Span]:
    """Return the sentences that can stand in a summary, or all of them where none can.

    What does not end as a sentence is a heading or an entry of a list: it is left out where enough
    others are there.
    """
    possible = [sentence for sentence in sentences if is_candidate(sentence)]
    whole = [sentence for sentence in possible if _ENDED.search(sentence.text)]
    if len(whole) >= max(_MIN_WHOLE, _MIN_WHOLE_SHARE * len(possible)):
        return whole
    return possible or list(sentences)


def order_sentences(
    vectors: Vectors,
    sentences: Sequence[Span],
    limit: int,
    *,
    max_chars: int | None = None,
    is_short: bool = False,
) -> list[int]:
    """Return the indices of the sentences that represent all of them, the best first.

    Args:
        vectors: `(n, d)` unit vectors of the sentences, in the order of the text.
        sentences: the same sentences.
        limit: most indices to return.
        max_chars: longer sentences are represented, but not returned; `None` is no bound.
        is_short: whether the text is one of at most `SHORT_TEXT` sentences.
    """
    count = len(sentences)
    if not count:
        return []
    likeness = np.clip(vectors @ vectors.T, 0.0, 1.0).astype(np.float32)
    places = np.arange(count, dtype=np.float32)
    lead, reach = LEAD_WEIGHT, LEAD_SENTENCES
    if is_short:
        lead, reach = SHORT_LEAD_WEIGHT, SHORT_LEAD_SENTENCES
    weights = 1.0 + lead * np.exp(-places / reach)
    lengths = np.array([max(20, len(sentence.text)) for sentence in sentences], np.float32)
    costs = lengths**LENGTH_POWER
    fits = np.array([max_chars is None or len(each.shown) <= max_chars for each in sentences])
    covered = np.zeros(count, np.float32)
    chosen: list[int] = []
    for _ in range(min(limit, count)):
        added = np.maximum(likeness - covered, 0.0).sum(axis=1) * weights / costs
        added[chosen] = -1.0
        added[~fits] = -1.0
        best = int(np.argmax(added))
        if added[best] <= 0.0:
            break
        chosen.append(best)
        covered = np.maximum(covered, likeness[best])
    return chosen


def choose_central(sentences: Sequence[Span], limit: int) -> list[int]:
    """Return the indices, in order, of sentences that are worth embedding, at most `limit`.

    They are those with most of the text's frequent words, and as many of each part of the text, so
    that nothing of a long one is left out beforehand.
    """
    count = len(sentences)
    if count <= limit:
        return list(range(count))
    scores = score_sentences(sentences)
    parts = min(limit, max(1, count // 40))
    chosen: list[int] = []
    for part in range(parts):
        begin, end = part * count // parts, (part + 1) * count // parts
        quota = (part + 1) * limit // parts - part * limit // parts
        best = sorted(range(begin, end), key=lambda index: -scores[index])[:quota]
        chosen += sorted(best)
    return chosen


def score_sentences(sentences: Sequence[Span]) -> list[float]:
    """Return how many of the text's frequent content words each sentence has, by its length."""
    words = [_content_words(sentence.text) for sentence in sentences]
    counts = Counter(word for found in words for word in set(found))
    return [
        sum(math.log1p(counts[word]) for word in set(found) if counts[word] > 1)
        / math.sqrt(1 + len(found))
        for found in words
    ]


def lexical_vectors(sentences: Sequence[Span]) -> Vectors:
    """Return `(n, d)` unit vectors of the sentences by their words, where no model embeds them."""
    words = [_content_words(sentence.text) for sentence in sentences]
    spread = Counter(word for found in words for word in set(found))
    vocabulary = {word: at for at, (word, _) in enumerate(spread.most_common(_HASHED))}
    vectors = np.zeros((len(sentences), max(1, len(vocabulary))), np.float32)
    for row, found in enumerate(words):
        for word, count in Counter(found).items():
            if word in vocabulary:
                rarity = math.log1p(len(sentences) / spread[word])
                vectors[row, vocabulary[word]] = (1.0 + math.log(count)) * rarity
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, 1e-9)


def take_chars(order: Sequence[int], sentences: Sequence[Span], max_chars: int) -> list[int]:
    """Return the first of some sentences that fit together, in the order of the text.

    At least one, however long, so that there is a summary; each further one only as long as all
    before it fit, so that a larger limit only adds.
    """
    taken: list[int] = []
    size = 0
    for index in order:
        size += len(sentences[index].shown) + 1
        if taken and size > max_chars + 1:
            break
        taken.append(index)
    return sorted(taken)


def take_fitting(order: Sequence[int], sentences: Sequence[Span], max_chars: int) -> list[int]:
    """Return those of some sentences, the best first, that fit together, in the order of the text.

    One that is too long for what is left is passed over; there may be none.
    """
    taken: list[int] = []
    left = max_chars + 1
    for index in order:
        size = len(sentences[index].shown) + 1
        if size <= left:
            taken.append(index)
            left -= size
    return sorted(taken)


def _content_words(text: str) -> list[str]:
    found = (word.casefold() for word in _WORD.findall(text))
    return [stem_word(word) for word in found if word not in STOP_WORDS]
