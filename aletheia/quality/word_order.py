"""Whether words stand in an order that their language has.

A text is read as the row of its function words and of what its content words end in. How much more
often two of these follow each other than by chance is counted in texts that come with Aletheia
(`bench.word_order` writes the counts to `word_order.json`). In sentences most pairs are usual ones,
in shuffled or reversed ones they are not, whatever the words are.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any, Final

from aletheia.quality.grammar import Grammar
from aletheia.quality.sentences import Sentence

EDGE: Final = "."
"""What stands before the first word of a sentence and behind its last one."""

MIN_PAIRS: Final = 2
"""Of a language's texts, from which a pair is counted by itself, not only by its classes."""

PRIOR_PAIRS: Final = 40.0
"""Pairs that the classes of two words are worth, beside what is counted of the words."""

PRIOR_CLASSES: Final = 1.5
"""Pairs of classes that chance is worth."""

MAX_RATIO: Final = 3.0
"""Logarithm of how much more or less often than by chance, beyond which more does not count."""

USUAL_ORDER: Final = 0.0
PRIOR_WORDS: Final = 5
"""What so many further pairs of each text are taken for: few words show little."""

_CONTENT: Final = "*"
_CAPITAL: Final = "^"
_NUMBER: Final = "0"
_ENDING: Final = 2


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """Counts of a language: of words before others, behind others, and of pairs."""

    before: Mapping[str, int]
    behind: Mapping[str, int]
    pairs: Mapping[str, int]  # two words with a blank between them, `MIN_PAIRS` times at least
    classes: Mapping[str, int]  # the same of all words' classes, see `_class_of`


def read_tags(sentence: Sentence, grammar: Grammar) -> list[str]:
    """Return a sentence as a row of function words, of content words' endings, and of marks."""
    tags = [EDGE]
    for token in sentence.tokens:
        if token.kind == "number":
            tags.append(_NUMBER)
        elif token.kind == "mark":
            tags.append(
                token.text if token.text in ",;:()" else EDGE if token.text in ".!?" else "-"
            )
        elif token.low in grammar.function:
            tags.append(token.low)
        else:
            # Nouns have a capital in German.
            is_noun = grammar.language == "de" and token.text[:1].isupper()
            tags.append((_CAPITAL if is_noun else "") + _CONTENT + token.low[-_ENDING:])
    return tags if tags[-1] == EDGE else [*tags, EDGE]


def count_order(rows: Sequence[Sequence[str]]) -> OrderCounts:
    """Count the pairs of sentences, each as `read_tags` returns it."""
    before: Counter[str] = Counter()
    behind: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    for tags in rows:
        for left, right in pairwise(tags):
            before[left] += 1
            behind[right] += 1
            pairs[f"{left} {right}"] += 1
            classes[f"{_class_of(left)} {_class_of(right)}"] += 1
    usual = {pair: count for pair, count in pairs.items() if count >= MIN_PAIRS}
    return OrderCounts(before, behind, usual, classes)


def measure_order(sentences: Sequence[Sentence], grammar: Grammar | None) -> float:
    """Return how usual the order of a text's words is, as a mean logarithm of ratios to chance.

    Of sentences it is about 0 and seldom below -0.4, of shuffled words it is about -1. A language
    that is not read is usual.
    """
    model = _model_of(grammar.language) if grammar is not None else None
    if grammar is None or model is None:
        return USUAL_ORDER
    found = [
        model.measure(left, right)
        for sentence in sentences
        for left, right in pairwise(read_tags(sentence, grammar))
    ]
    return (sum(found) + PRIOR_WORDS * USUAL_ORDER) / (len(found) + PRIOR_WORDS)


class _Model:
    """Ratios of a language."""

    def __init__(self, counts: OrderCounts) -> None:
        self._counts = counts
        self._total = sum(counts.behind.values())
        self._before = _by_class(counts.before)
        self._behind = _by_class(counts.behind)
        self._known: dict[tuple[str, str], float] = {}

    def measure(self, left: str, right: str) -> float:
        """Return the logarithm of how often two words follow each other, beside chance."""
        known = self._known.get((left, right))
        if known is None:
            known = self._known[left, right] = self._measure(left, right)
        return known

    def _measure(self, left: str, right: str) -> float:
        counts, total = self._counts, self._total
        first, second = _class_of(left), _class_of(right)
        chance = (counts.behind.get(right, 0) + 0.5) / total
        usual = (self._behind.get(second, 0) + 0.5) / total
        of_class = counts.classes.get(f"{first} {second}", 0) + PRIOR_CLASSES * usual
        ratio = of_class / (self._before.get(first, 0) + PRIOR_CLASSES) / usual
        own = counts.pairs.get(f"{left} {right}", 0) + PRIOR_PAIRS * chance * ratio
        found = math.log(own / (counts.before.get(left, 0) + PRIOR_PAIRS) / chance)
        return max(-MAX_RATIO, min(MAX_RATIO, found))


def _by_class(counts: Mapping[str, int]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for tag, count in counts.items():
        found[_class_of(tag)] += count
    return found


def _class_of(tag: str) -> str:
    """Return a tag without the ending of a content word."""
    bare = tag.removeprefix(_CAPITAL)
    return tag[: len(tag) - len(bare) + 1] if bare.startswith(_CONTENT) else tag


@cache
def _model_of(language: str) -> _Model | None:
    counts = _read_counts().get(language)
    return None if counts is None else _Model(OrderCounts(**counts))


@cache
def _read_counts() -> Mapping[str, Mapping[str, Any]]:
    source = resources.files("aletheia.quality").joinpath("word_order.json")
    return json.loads(source.read_text("utf-8"))
