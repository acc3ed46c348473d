"""What modalities agree on, and where they conflict, found by rules alone.

Sentences that speak of the same thing are compared as duplicates of items are: by what a similarity
does not see, such as a number, a date, a name, a negation. Of two that share their subject, and
differ in nothing but such a fact, one must be wrong; where each has words of its own beside it,
they may speak of two things, and nothing is claimed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, Field

from aletheia.analysis.modalities import Material, Place
from aletheia.text.differences import DIFFERENCES, align_texts
from aletheia.text.extracts import lexical_vectors
from aletheia.text.facts import Difference, find_unsaid, read_facts
from aletheia.text.key_terms import find_key_terms
from aletheia.text.spans import Span
from aletheia.text.wording import Wording, read_wording, stem_word

ClaimKind: TypeAlias = Literal["statement", "key_term", "polarity", "model"]

MIN_ALIKE: Final = 0.25
"""Cosine of the words of two sentences, 0 to 1, from which they are compared word by word."""

MAX_COMPARED: Final = 400
"""Pairs of sentences of two modalities that are compared, the most alike ones."""

MIN_SHARED: Final = 2
"""Words of their subject, facts left out, that two sentences must share to conflict."""

MIN_SHARED_SHARE: Final = 0.6
"""Share of the shorter subject that they must share."""

MIN_SAME: Final = 3
"""Content words that two sentences must share to say the same."""

MIN_SAME_SHARE: Final = 0.6
"""Share of the content words of both that they must share for that."""

MAX_CLAIMS: Final = 50
"""Agreements, and conflicts, that are reported of each kind."""

KEY_TERMS: Final = 20
"""Key terms of a modality that are compared."""

FACTS: Final = frozenset[Difference](
    {"number", "unit", "negation", "date", "version", "sign", "opposite", "name"}
)
"""Differences that are conflicts: one of two statements about the same thing is wrong."""


class Claim(BaseModel):
    """Something that modalities agree on, or conflict in, and where each says it."""

    kind: ClaimKind = Field(
        description="`statement`: sentences; `key_term`: a phrase that both repeat; `polarity`: "
        "how they sound; `model`: found by a chat model, its places checked."
    )
    statement: str = Field(description="What it is, in words.")
    difference: str | None = Field(
        default=None, description="Of conflicting sentences: `number`, `date`, `name`, `negation` …"
    )
    places: list[Place] = Field(min_length=2, description="Where each modality says it.")


@dataclass(frozen=True, slots=True)
class Fusion:
    """What was found by comparing modalities."""

    agreements: list[Claim]
    conflicts: list[Claim]


def fuse(materials: Sequence[Material], polarities: Mapping[str, str]) -> Fusion:
    """Compare modalities, each with each other one.

    Args:
        materials: what they say.
        polarities: `positive`, `negative` or `neutral`, by name, of those whose is known.
    """
    agreements: list[Claim] = []
    conflicts: list[Claim] = []
    for left, right in combinations(materials, 2):
        same, different = compare_statements(left, right)
        agreements += [*same, *share_key_terms(left, right)]
        conflicts += different
        if claim := compare_polarity(left, right, polarities):
            is_same = polarities[left.name] == polarities[right.name]
            (agreements if is_same else conflicts).append(claim)
    return Fusion(agreements, conflicts)


def compare_statements(one: Material, two: Material) -> tuple[list[Claim], list[Claim]]:
    """Return what two modalities say alike, and in what sentences of them conflict."""
    agreements: list[Claim] = []
    conflicts: list[Claim] = []
    used: set[tuple[str, int]] = set()
    for left, right in _pair_sentences(one.statements(), two.statements()):
        keys = {(one.name, left.start), (two.name, right.start)}
        if keys & used:
            continue
        difference = _find_conflict(left.shown, right.shown)
        places = [one.place(left.start, left.end), two.place(right.start, right.end)]
        if difference is not None and len(conflicts) < MAX_CLAIMS:
            said = f"{DIFFERENCES[difference]}: {_cut(left)} / {_cut(right)}"
            conflicts.append(
                Claim(kind="statement", statement=said, difference=difference, places=places)
            )
            used |= keys
        elif _say_the_same(left.shown, right.shown) and len(agreements) < MAX_CLAIMS:
            agreements.append(Claim(kind="statement", statement=_cut(left), places=places))
            used |= keys
    return agreements, conflicts


def share_key_terms(one: Material, two: Material) -> list[Claim]:
    """Return the key terms that two modalities have in common, the weightiest first."""
    terms = {_stems(term.term): term for term in find_key_terms(one.spans, KEY_TERMS)}
    claims: list[Claim] = []
    for other in find_key_terms(two.spans, KEY_TERMS):
        term = terms.get(_stems(other.term))
        places = [one.find(term.term), two.find(other.term)] if term else []
        found = [place for place in places if place is not None]
        if term is not None and len(found) == len(places):
            claims.append(Claim(kind="key_term", statement=term.term, places=found))
    return claims


def compare_polarity(one: Material, two: Material, polarities: Mapping[str, str]) -> Claim | None:
    """Return whether two modalities sound alike; `None` where one is neutral, or not known."""
    first, second = polarities.get(one.name), polarities.get(two.name)
    if first not in {"positive", "negative"} or second not in {"positive", "negative"}:
        return None
    said = (
        f"the {one.name} and the {two.name} both sound {first}"
        if first == second
        else f"the {one.name} sounds {first}, the {two.name} {second}"
    )
    return Claim(kind="polarity", statement=said, places=[one.whole(), two.whole()])


def _pair_sentences(ones: Sequence[Span], twos: Sequence[Span]) -> Iterator[tuple[Span, Span]]:
    """Yield pairs of sentences that share words, the most alike first."""
    if not ones or not twos:
        return
    vectors = lexical_vectors([*ones, *twos])
    alike = vectors[: len(ones)] @ vectors[len(ones) :].T
    order = (-alike).argsort(axis=None, kind="stable")[:MAX_COMPARED]
    for index in order:
        row, column = divmod(int(index), len(twos))
        if alike[row, column] < MIN_ALIKE:
            return
        yield ones[row], twos[column]


def _find_conflict(left: str, right: str) -> Difference | None:
    """Return the fact in which two sentences about the same thing differ."""
    difference = align_texts(left, right).difference
    if difference not in FACTS or not _both_say(difference, left, right):
        return None
    one, two = _subject(read_wording(left)), _subject(read_wording(right))
    shared = len(one & two)
    if shared < MIN_SHARED or shared < MIN_SHARED_SHARE * min(len(one), len(two)):
        return None
    only_left, only_right = len(one - two), len(two - one)
    if difference == "opposite":  # the two opposites are words of the subject
        return difference if max(only_left, only_right) <= 1 else None
    return None if only_left and only_right else difference


def _both_say(difference: Difference, left: str, right: str) -> bool:
    """Return whether each gives a fact of that kind that the other has not; one may negate alone.

    That one says more than the other is no conflict.
    """
    one, two = read_wording(left), read_wording(right)
    facts, others = read_facts(left), read_facts(right)
    numbers = bool(find_unsaid(facts, others)) and bool(find_unsaid(others, facts))
    codes = bool(one.codes - two.codes) and bool(two.codes - one.codes)
    both: Mapping[Difference, bool] = {
        "number": numbers or codes,
        "unit": numbers,
        "version": codes,
        "date": bool(one.calendar - two.calendar) and bool(two.calendar - one.calendar),
        "sign": bool(one.signs) and bool(two.signs),
        "name": bool(one.names - two.names) and bool(two.names - one.names),
    }
    return both.get(difference, True)


def _subject(wording: Wording) -> frozenset[str]:
    """Return the words of a sentence without its facts: numbers, dates, codes, names."""
    facts = wording.names | wording.codes | wording.calendar
    facts |= {stem_word(word) for word in wording.calendar}
    words = (word for word in wording.content if word not in facts and not word.startswith("#"))
    return frozenset(word for word in words if not any(map(str.isdigit, word)))


def _say_the_same(left: str, right: str) -> bool:
    if align_texts(left, right).difference in FACTS:
        return False
    one, two = (set(read_wording(text).content) for text in (left, right))
    shared = len(one & two)
    return shared >= MIN_SAME and shared >= MIN_SAME_SHARE * len(one | two)


def _stems(term: str) -> tuple[str, ...]:
    return tuple(stem_word(word.casefold()) for word in term.split())


def _cut(span: Span, chars: int = 200) -> str:
    shown = span.shown
    return shown if len(shown) <= chars else f"{shown[: chars - 1].rstrip()}…"
