"""The walk of a batch through the tiers of deduplication; see `aletheia.items.dedup`.

An item that needs a verdict defers only those that may repeat it, so that all verdicts of a batch
are asked for together, mostly in one round.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final

from aletheia.items.calibration import Calibration
from aletheia.items.duplicates import (
    Decision,
    DistinctPairs,
    GuardedPairs,
    Question,
    Tier,
    Verdict,
)
from aletheia.items.item_index import Entry, ItemIndex
from aletheia.text.excerpts import excerpt_pair
from aletheia.text.facts import Difference, find_difference

MAX_JUDGED: Final = 2
"""Pairs of one item that are judged, one after the other, nearest first; as many again that
contradict each other, where such are judged. If none is a duplicate, farther ones are none."""

MAX_NEIGHBOURS: Final = 1000
"""Saved items in reach of the grey zone that one item is compared with, nearest first."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is the same for all batches; cosines are raw.

    Attributes:
        calibration: of the embedding model.
        at: the threshold.
        grey_from: where the grey zone begins.
        grey_to: where it ends.
        guarded_pairs: what becomes of pairs that contradict each other.
    """

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


def _rank(match: _Match) -> tuple[float, bool]:
    """Order matches in a tier, the best first; of equals a saved one."""
    return -match.cosine, not match.is_saved


class Walk:
    """One batch, walked from its last item to its first, each time that verdicts come in.

    Args:
        entries: the batch.
        index: the saved items.
        rules: cosines and what to do about contradictions.
        distinct: pairs of ids that an operator has declared distinct.
        is_judged: whether there is a judge.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        index: ItemIndex,
        rules: Rules,
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
            [_Match(index.entry(found.row), True, found.cosine) for found in near]
            for near in index.find_neighbours(entries, rules.grey_from, MAX_NEIGHBOURS)
        ]
        self._exact = [self._look_up(entry, index.find_exact(entry)) for entry in entries]
        self._alike = [self._look_up(entry, index.find_near_exact(entry)) for entry in entries]
        self._differences: dict[tuple[str, str], Difference | None] = {}

    def go(
        self, verdicts: Mapping[str, Verdict | None]
    ) -> tuple[dict[int, Decision], list[Question]]:
        """Decide what can be decided with these verdicts.

        Returns:
            Decisions by position, and the questions that the other items wait for.
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
        """Decide about an item, tier by tier."""
        entry = self._entries[position]
        own = [_Match(other, False, entry.cosine(other)) for other in kept]
        exact = self._exact[position] + [match for match in own if _is_exact(entry, match.entry)]
        for match in self._best(entry, exact):
            return self._drop(entry, match, "exact", _exact_reason(entry, match))
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
        """Decide by cosine, and by verdict in the grey zone."""
        near = list(self._best(entry, matches))
        reach = [match for match in near if match.cosine >= self._rules.grey_from]
        free = self._choose(entry, reach, is_guarded=False)
        if free and free[0].cosine >= self._rules.grey_to:
            return self._drop(entry, free[0], "embedding", "nearer than the grey zone")
        if self._is_judged:
            judged = free
            if self._rules.guarded_pairs == "judge":
                guarded = self._choose(entry, reach, is_guarded=True)
                judged = sorted(free + guarded, key=_rank)
            found = self._read_verdicts(entry, judged, verdicts)
            if found is not None:
                return found
        if free and free[0].cosine >= self._rules.at:
            reason = "at or above the threshold"
            return self._drop(entry, free[0], "embedding", reason)
        for match in reach:
            if match.cosine >= self._rules.at:
                difference = self._difference(entry, match)
                return self._keep(entry, match, "guard", f"they differ in a {difference}")
        reason = "below the threshold" if near else "there is nothing to compare it with"
        return self._keep(entry, near[0] if near else None, "embedding", reason)

    def _choose(self, entry: Entry, matches: Sequence[_Match], *, is_guarded: bool) -> list[_Match]:
        """Return the first `MAX_JUDGED` that contradict an item, or that do not."""
        chosen = (
            match for match in matches if (self._difference(entry, match) is not None) == is_guarded
        )
        return list(islice(chosen, MAX_JUDGED))

    def _read_verdicts(
        self, entry: Entry, matches: Sequence[_Match], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | Question | None:
        """Decide by verdicts, one after the other; `None` if there are none."""
        distinct: tuple[_Match, Verdict] | None = None
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
            distinct = distinct or (match, verdict)
        if distinct is None:
            return None
        match, verdict = distinct
        return self._keep(entry, match, "judge", verdict.reason, verdict.model)

    def _look_up(self, entry: Entry, rows: Sequence[int]) -> list[_Match]:
        others = map(self._index.entry, rows)
        return [_Match(other, True, entry.cosine(other)) for other in others]

    def _best(self, entry: Entry, matches: Sequence[_Match]) -> Iterator[_Match]:
        """Yield matches, best first, without those that an operator has declared distinct."""
        for match in sorted(matches, key=_rank):
            if frozenset({entry.id, match.entry.id}) not in self._distinct:
                yield match

    def _may_repeat(self, entry: Entry, other: Entry) -> bool:
        """Return whether an item might be dropped for another one, were that kept."""
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


def _exact_reason(entry: Entry, match: _Match) -> str:
    if match.is_saved and entry.id == match.entry.id:
        return "saved already, under the same id"
    return "the same text after normalisation"
