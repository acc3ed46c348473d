"""Which items of a batch repeat something (SPEC §4, Dedup).

A batch is walked from its last item to its first. Each is compared with the saved items and with
the items of the batch that were kept so far, tier by tier; the first tier that finds a duplicate
decides, and records the best match it has:

    exact       the same text after normalisation
    near_exact  the same words but for endings and words that say nothing (found by MinHash)
    embedding   a cosine above the grey zone; without a verdict, at or above the threshold
    judge       a cosine in the grey zone, and a model that says whether both make one point

Pairs that contradict each other in a number, a unit or a negation are no duplicates in any tier
but the first, unless a judge may decide them. Pairs that an operator told apart never are.

An item that needs a verdict holds up only those that may repeat it, so that all verdicts of a
batch are asked for together, mostly in one round.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aletheia.items.calibration import DUPLICATE_AT, GREY_FROM, GREY_TO, Calibration
from aletheia.items.item_index import Entry, ItemIndex, make_entry
from aletheia.text.excerpts import excerpt_pair
from aletheia.text.facts import Difference, find_difference

MAX_JUDGED: Final = 2
"""Pairs of one item that are judged, one after the other, nearest first; as many again that
contradict each other, where such are judged. If none is a duplicate, farther ones are none."""

MAX_NEIGHBOURS: Final = 1000
"""Saved items in reach of the grey zone that one item is compared with, nearest first."""

Tier: TypeAlias = Literal["exact", "near_exact", "guard", "embedding", "judge"]

GuardedPairs: TypeAlias = Literal["keep", "judge"]
"""What becomes of pairs that contradict each other (SPEC §4, Dedup, `GUARDED_PAIRS`)."""

DistinctPairs: TypeAlias = Collection[frozenset[str]]
"""Pairs of ids that an operator told apart."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item that may be a duplicate.

    Attributes:
        id: what it would be saved as.
        text: its content.
        vector: `(d,)` of the full text, finite, not zero, by the index's model.
    """

    id: str
    text: str
    vector: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of an item, and why.

    Attributes:
        item_id: the item.
        is_kept: whether it is no duplicate.
        tier: what decided; `guard` where nothing but a contradiction kept it.
        match_id: what it repeats, or, if it is kept, what is nearest to it; `None` if nothing is.
        is_match_saved: whether that is a saved item rather than one of the same batch.
        score: calibrated similarity of the two in `[0, 1]`; `None` without a match.
        cosine: their raw cosine in `[-1, 1]`.
        model: the embedding model.
        judge: the model that judged the pair; empty if none did.
        difference: in what the two contradict each other, if they do.
        reason: one sentence.
    """

    item_id: str
    is_kept: bool
    tier: Tier
    match_id: str | None
    is_match_saved: bool
    score: float | None
    cosine: float | None
    model: str
    judge: str
    difference: Difference | None
    reason: str


@dataclass(frozen=True, slots=True)
class Question:
    """A pair that is to be judged.

    Attributes:
        key: of the two texts, whichever is first; under it a verdict can be cached.
        new_id: the new item.
        other_id: the saved or newer one.
        new_excerpt: about 500 characters of the new one, those that differ among them.
        other_excerpt: the same of the other one.
        cosine: raw cosine of the two.
        difference: in what they contradict each other, if they do.
    """

    key: str
    new_id: str
    other_id: str
    new_excerpt: str
    other_excerpt: str
    cosine: float
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says about a pair.

    Attributes:
        is_duplicate: whether both make the same point.
        model: who says so.
        reason: one sentence.
    """

    is_duplicate: bool
    model: str
    reason: str


class Judge(Protocol):
    """Tells for pairs of texts whether they make the same point."""

    async def judge(self, questions: Sequence[Question]) -> Sequence[Verdict | None]:
        """Answer questions in their order; `None` where there is no verdict to be had.

        Caches by `Question.key`, waits and tries again as it sees fit. What it raises ends the
        deduplication of the batch.
        """
        ...


class Deduplicator:
    """Decides about batches of one embedding model.

    Args:
        calibration: of that model.
        threshold: `DUPLICATE_AT` on the calibrated scale, in `(0, 1]`.
        guarded_pairs: `GUARDED_PAIRS`: whether pairs that contradict each other are kept, or
            judged.
    """

    def __init__(
        self,
        calibration: Calibration,
        *,
        threshold: float = DUPLICATE_AT,
        guarded_pairs: GuardedPairs = "keep",
    ) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold must be in (0, 1], not {threshold!r}")
        at = calibration.to_cosine(threshold)
        self._calibration = calibration
        self._rules = _Rules(
            calibration=calibration,
            at=at,
            grey_from=min(at, calibration.to_cosine(GREY_FROM)),
            grey_to=max(at, calibration.to_cosine(GREY_TO)),
            guarded_pairs=guarded_pairs,
        )

    @property
    def duplicate_at_cosine(self) -> float:
        """The threshold as a raw cosine of the model, for backends that know no other."""
        return self._rules.at

    @property
    def grey_from_cosine(self) -> float:
        """The raw cosine, inclusive, below which nothing is a candidate."""
        return self._rules.grey_from

    async def deduplicate(
        self,
        batch: Sequence[NewItem],
        index: ItemIndex,
        judge: Judge | None = None,
        *,
        distinct: DistinctPairs = frozenset(),
    ) -> list[Decision]:
        """Decide about each item of a batch, in the batch's order.

        Args:
            batch: new items, oldest first; equal ids are of equal items.
            index: the saved items. It is not changed: kept items are added when they are saved.
            judge: decides the grey zone; without one the threshold does.
            distinct: pairs of ids that an operator told apart.

        Returns:
            One decision an item. One that is in the index already, under the same id, is a
            duplicate of itself.

        Raises:
            ValueError: a vector is not finite, has no direction or another length than the
                index's, or the index is of another model.
        """
        if index.model != self._calibration.model:
            raise ValueError(
                f"the index is of {index.model!r}, the calibration of {self._calibration.model!r}"
            )
        entries = [make_entry(one.id, one.text, one.vector, index.dimensions) for one in batch]
        walk = _Walk(entries, index, self._rules, distinct, is_judged=judge is not None)
        verdicts: dict[str, Verdict | None] = {}
        while True:
            decisions, questions = walk.go(verdicts)
            if judge is None or not questions:
                return [decisions[position] for position in range(len(batch))]
            answers = await judge.judge(questions)
            verdicts |= {one.key: answer for one, answer in zip(questions, answers, strict=True)}


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is the same for all batches; all cosines are raw."""

    calibration: Calibration
    at: float
    grey_from: float
    grey_to: float
    guarded_pairs: GuardedPairs


@dataclass(frozen=True, slots=True)
class _Match:
    """Another item that one may repeat."""

    entry: Entry
    is_saved: bool
    cosine: float

    @property
    def rank(self) -> tuple[float, bool]:
        """Order of matches in a tier, the best first; of equals a saved one."""
        return -self.cosine, not self.is_saved


class _Walk:
    """One batch's way from its last item to its first, as often as verdicts come in."""

    def __init__(
        self,
        entries: Sequence[Entry],
        index: ItemIndex,
        rules: _Rules,
        distinct: DistinctPairs,
        *,
        is_judged: bool,
    ) -> None:
        self._entries = entries
        self._index = index
        self._rules = rules
        self._distinct = distinct
        self._is_judged = is_judged
        self._saved = [
            [_Match(index.entry(one.row), True, one.cosine) for one in near]
            for near in index.find_neighbours(entries, rules.grey_from, MAX_NEIGHBOURS)
        ]
        self._exact = [self._look_up(one, index.find_exact(one)) for one in entries]
        self._alike = [self._look_up(one, index.find_near_exact(one)) for one in entries]
        self._differences: dict[tuple[str, str], Difference | None] = {}

    def go(
        self, verdicts: Mapping[str, Verdict | None]
    ) -> tuple[dict[int, Decision], list[Question]]:
        """Decide what can be decided with some verdicts.

        Returns:
            Decisions by position, and the questions that the others wait for; none if no item
            is undecided.
        """
        decisions: dict[int, Decision] = {}
        questions: list[Question] = []
        kept: list[Entry] = []
        waiting: list[Entry] = []
        for position in reversed(range(len(self._entries))):
            entry = self._entries[position]
            decision = self._decide(position, kept, verdicts)
            is_dropped = isinstance(decision, Decision) and not decision.is_kept
            if not is_dropped and any(self._may_repeat(entry, other) for other in waiting):
                waiting.append(entry)
            elif isinstance(decision, Question):
                questions.append(decision)
                waiting.append(entry)
            else:
                decisions[position] = decision
                if decision.is_kept:
                    kept.append(entry)
        return decisions, questions

    def _decide(
        self, position: int, kept: Sequence[Entry], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | Question:
        """Take an item through the tiers."""
        entry = self._entries[position]
        own = [_Match(other, False, entry.cosine(other)) for other in kept]
        exact = self._exact[position] + [match for match in own if _is_exact(entry, match.entry)]
        for match in self._best(entry, exact):
            return self._drop(entry, match, "exact", _say_exact(entry, match))
        alike = self._alike[position] + [match for match in own if match.entry.is_near_exact(entry)]
        for match in self._best(entry, alike):
            if self._difference(entry, match) is None:
                share = entry.jaccard(match.entry)
                reason = f"the same words, {share:.0%} of the word triples"
                return self._drop(entry, match, "near_exact", reason)
        return self._compare(entry, [*self._saved[position], *own], verdicts)

    def _compare(
        self, entry: Entry, matches: Sequence[_Match], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | Question:
        """Decide by cosine, and by verdict where that is open."""
        near = list(self._best(entry, matches))
        reach = [match for match in near if match.cosine >= self._rules.grey_from]
        plain = self._choose(entry, reach, is_guarded=False)
        if plain and plain[0].cosine >= self._rules.grey_to:
            return self._drop(entry, plain[0], "embedding", "nearer than the grey zone")
        if self._is_judged:
            judged = plain
            if self._rules.guarded_pairs == "judge":
                guarded = self._choose(entry, reach, is_guarded=True)
                judged = sorted(plain + guarded, key=lambda one: one.rank)
            found = self._hear(entry, judged, verdicts)
            if found is not None:
                return found
        if plain and plain[0].cosine >= self._rules.at:
            reason = "at or above the threshold"
            return self._drop(entry, plain[0], "embedding", reason)
        for match in reach:
            if match.cosine >= self._rules.at:
                difference = self._difference(entry, match)
                return self._keep(entry, match, "guard", f"they differ in a {difference}")
        reason = "below the threshold" if near else "there is nothing to compare it with"
        return self._keep(entry, near[0] if near else None, "embedding", reason)

    def _choose(self, entry: Entry, matches: Sequence[_Match], *, is_guarded: bool) -> list[_Match]:
        """Pick the first `MAX_JUDGED` that contradict an item, or that do not."""
        chosen = (
            one for one in matches if (self._difference(entry, one) is not None) == is_guarded
        )
        return list(islice(chosen, MAX_JUDGED))

    def _hear(
        self, entry: Entry, matches: Sequence[_Match], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | Question | None:
        """Decide by verdicts, one after the other; `None` if there are none to be had."""
        told_apart: tuple[_Match, Verdict] | None = None
        for match in matches:
            question = self._ask(entry, match)
            if question.key not in verdicts:
                return question
            verdict = verdicts[question.key]
            if verdict is None:
                if match.cosine < self._rules.at or self._difference(entry, match) is not None:
                    continue
                reason = "no verdict, and at or above the threshold"
                return self._drop(entry, match, "embedding", reason)
            if verdict.is_duplicate:
                return self._drop(entry, match, "judge", verdict.reason, verdict.model)
            told_apart = told_apart or (match, verdict)
        if told_apart is None:
            return None
        match, verdict = told_apart
        return self._keep(entry, match, "judge", verdict.reason, verdict.model)

    def _look_up(self, entry: Entry, rows: Sequence[int]) -> list[_Match]:
        others = map(self._index.entry, rows)
        return [_Match(other, True, entry.cosine(other)) for other in others]

    def _best(self, entry: Entry, matches: Sequence[_Match]) -> Iterator[_Match]:
        """Give matches, best first, without those that an operator told apart."""
        for match in sorted(matches, key=lambda one: one.rank):
            if frozenset({entry.id, match.entry.id}) not in self._distinct:
                yield match

    def _may_repeat(self, entry: Entry, other: Entry) -> bool:
        """Tell whether an item might be dropped for another one, were that kept."""
        is_distinct = frozenset({entry.id, other.id}) in self._distinct
        return not is_distinct and entry.cosine(other) >= self._rules.grey_from

    def _difference(self, entry: Entry, match: _Match) -> Difference | None:
        pair = entry.id, match.entry.id
        if pair not in self._differences:
            self._differences[pair] = find_difference(entry.facts, match.entry.facts)
        return self._differences[pair]

    def _ask(self, entry: Entry, match: _Match) -> Question:
        new, other = excerpt_pair(entry.text, match.entry.text)
        return Question(
            key=sha256(b"".join(sorted((entry.key, match.entry.key)))).hexdigest(),
            new_id=entry.id,
            other_id=match.entry.id,
            new_excerpt=new,
            other_excerpt=other,
            cosine=match.cosine,
            difference=self._difference(entry, match),
        )

    def _drop(
        self, entry: Entry, match: _Match, tier: Tier, reason: str, judge: str = ""
    ) -> Decision:
        return self._record(entry, match, tier, reason, judge, is_kept=False)

    def _keep(
        self, entry: Entry, match: _Match | None, tier: Tier, reason: str, judge: str = ""
    ) -> Decision:
        return self._record(entry, match, tier, reason, judge, is_kept=True)

    def _record(
        self,
        entry: Entry,
        match: _Match | None,
        tier: Tier,
        reason: str,
        judge: str,
        *,
        is_kept: bool,
    ) -> Decision:
        return Decision(
            item_id=entry.id,
            is_kept=is_kept,
            tier=tier,
            match_id=None if match is None else match.entry.id,
            is_match_saved=match is not None and match.is_saved,
            score=None if match is None else self._rules.calibration.to_score(match.cosine),
            cosine=None if match is None else match.cosine,
            model=self._rules.calibration.model,
            judge=judge,
            difference=None if match is None else self._difference(entry, match),
            reason=reason,
        )


def _is_exact(entry: Entry, other: Entry) -> bool:
    return entry.id == other.id or entry.key == other.key


def _say_exact(entry: Entry, match: _Match) -> str:
    if match.is_saved and entry.id == match.entry.id:
        return "saved already, under the same id"
    return "the same text after normalisation"
