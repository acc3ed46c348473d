"""Key terms of a text: phrases that it repeats, by their C-value and how far they are spread.

C-value (Frantzi, Ananiadou, Mima 2000, https://doi.org/10.1007/s007999900023): how often a phrase
occurs, times the logarithm of its length, without the occurrences within longer phrases that are
frequent themselves.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from aletheia.text.spans import Span
from aletheia.text.wording import STOP_WORDS, stem_word

MAX_WORDS: Final = 3
"""Words of a key term."""

MIN_WORD_CHARS: Final = 3

MAX_READ_CHARS: Final = 500_000
"""Characters of a text that are counted; of a longer one, sentences evenly all over it."""

_TOKEN: Final = re.compile(r"[^\W\d_][\w'\u2019-]*|[^\s\w]|\d+")
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_MIN_COUNT: Final = 2


@dataclass(frozen=True, slots=True)
class KeyTerm:
    """A phrase as the text writes it most often, how often it occurs, and its weight, above 0."""

    term: str
    count: int
    weight: float  # relative to that of the first one, which is 1


def find_key_terms(sentences: Sequence[Span], limit: int = 10) -> list[KeyTerm]:
    """Return the key terms of a text in falling order of weight, at most `limit`."""
    counts: Counter[tuple[str, ...]] = Counter()
    forms: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    spread: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    chosen = _choose(sentences)
    for place, sentence in enumerate(chosen):
        for words in _candidates(sentence.text):
            key = tuple(stem_word(word.casefold()) for word in words)
            counts[key] += 1
            forms[key][" ".join(words)] += 1
            spread[key].add(20 * place // len(chosen))
    weights = {
        key: value * (1.0 + math.log(len(spread[key])))
        for key, value in _c_values(counts).items()
        if counts[key] >= min(_MIN_COUNT, max(counts.values()))
    }
    best = sorted(weights, key=lambda key: (-weights[key], key))
    return list(_without_parts(best, counts, forms, weights, limit))


def _choose(sentences: Sequence[Span]) -> Sequence[Span]:
    size = sum(len(sentence.text) for sentence in sentences)
    return sentences[:: 1 + size // MAX_READ_CHARS]


def _candidates(text: str) -> Iterator[list[str]]:
    """Yield the phrases of a sentence: up to `MAX_WORDS` content words with nothing in between."""
    run: list[str] = []
    for token in (*_TOKEN.findall(text), "."):
        if _is_content(token):
            run.append(token.rstrip("'\u2019-"))
            for length in range(1, min(MAX_WORDS, len(run)) + 1):
                yield run[-length:]
        else:
            run = []


def _is_content(token: str) -> bool:
    if not token[0].isalpha() or token.casefold() in STOP_WORDS:
        return False
    return len(token) >= MIN_WORD_CHARS or bool(_UNSPACED.search(token)) or token.isupper()


def _c_values(counts: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    """Return the C-value of each phrase, a single word's logarithm being that of one and a half."""
    within: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for key, count in counts.items():
        if count >= _MIN_COUNT:
            for part in _parts(key):
                within[part].append(count)
    values: dict[tuple[str, ...], float] = {}
    for key, count in counts.items():
        longer = within.get(key, ())
        alone = count - (sum(longer) / len(longer) if longer else 0.0)
        values[key] = math.log2(len(key) + 0.5) * max(alone, 0.0)
    return values


def _parts(key: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    for length in range(1, len(key)):
        for start in range(len(key) - length + 1):
            yield key[start : start + length]


def _without_parts(
    best: Sequence[tuple[str, ...]],
    counts: Counter[tuple[str, ...]],
    forms: defaultdict[tuple[str, ...], Counter[str]],
    weights: dict[tuple[str, ...], float],
    limit: int,
) -> Iterator[KeyTerm]:
    """Yield the best phrases, none of which is a part of one before it, or has one as a part."""
    taken: list[tuple[str, ...]] = []
    for key in best:
        if len(taken) == limit or weights[key] <= 0.0:
            return
        if any(set(key) <= set(other) or set(other) <= set(key) for other in taken):
            continue
        taken.append(key)
        form = forms[key].most_common(1)[0][0]
        yield KeyTerm(form, counts[key], round(weights[key] / weights[best[0]], 4))
