"""Which items of a batch repeat something (SPEC §4, Dedup).

A batch is walked from its last item to its first. Each is compared with the saved items and with
the items of the batch that were kept so far, tier by tier. The first tier that finds a duplicate
decides, and records its best match:

    exact       the same text after normalisation
    near_exact  the same words but for endings and function words (found by MinHash)
    embedding   a cosine above the grey zone; without a verdict, at or above the threshold
    judge       a cosine in the grey zone, and a model that decides whether both make one point

Pairs that contradict each other in a number, a unit or a negation are no duplicates in any tier
but the first, unless a judge may decide them. Pairs that an operator declared distinct never are.
An item that needs a verdict defers only those that may repeat it, so that all verdicts of a batch
are asked for together, mostly in one round.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Final, Literal, TypeAlias

from aletheia.items.calibration import DUPLICATE_AT, GREY_FROM, GREY_TO, Calibration
from aletheia.items.item_index import Entry, ItemIndex, Match
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
"""Pairs of ids that an operator has declared distinct."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an item is kept, and why."""

    item_id: str
    is_kept: bool
    tier: Tier  # what decided; `guard` where nothing but a contradiction kept it
    model: str  # the embedding model
    reason: str
    match_id: str | None = None  # the item it repeats or, if it is kept, the nearest one, if any
    is_match_saved: bool = False  # whether that is a saved item, not one of the same batch
    score: float | None = None  # calibrated similarity of the two in `[0, 1]`
    cosine: float | None = None  # the raw one
    judge: str = ""  # the model that judged the pair; empty if none did
    difference: Difference | None = None  # in what the two contradict each other, if they do


@dataclass(frozen=True, slots=True)
class Question:
    """A new item and a saved or newer one that are to be judged."""

    key: str  # of the two texts, in either order; under it a verdict can be cached
    new_id: str
    other_id: str
    new_excerpt: str  # about 500 characters of the new one, with what differs
    other_excerpt: str  # the same of the other one


@dataclass(frozen=True, slots=True)
class Verdict:
    """A model's answer whether both texts of a pair make the same point; a sentence says why."""

    is_duplicate: bool
    model: str
    reason: str


Judge: TypeAlias = Callable[[Sequence[Question]], Awaitable[Sequence[Verdict | None]]]
"""Decides for pairs of texts whether they make the same point: a verdict for each question, in
order; `None` where there is none."""


@dataclass(frozen=True, slots=True)
class Deduplicator:
    """Decides about batches by the calibration of their embedding model."""

    calibration: Calibration
    guarded_pairs: GuardedPairs = "keep"

    async def deduplicate(
        self,
        batch: Sequence[Entry],
        index: ItemIndex,
        judge: Judge | None = None,
        *,
        distinct: DistinctPairs = frozenset(),
    ) -> list[Decision]:
        """Decide about each item of a batch, oldest first, under the ids they would be saved with.

        The index is not changed: kept items are added when they are saved. Without a judge the
        threshold decides the grey zone.

        Returns:
            One decision per item, in order. An item that is saved is a duplicate of itself.

        Raises:
            ValueError: the index is of another model.
        """
        model = self.calibration.model
        if index.model != model:
            raise ValueError(f"the index is of {index.model!r}, the calibration of {model!r}")
        walk = _Walk(batch, index, self, distinct, is_judged=judge is not None)
        verdicts: dict[str, Verdict | None] = {}
        while True:
            decisions, questions = walk.decide(verdicts)
            if judge is None or not questions:
                return [decisions[position] for position in range(len(batch))]
            answers = await judge(questions)
            for question, verdict in zip(questions, answers, strict=True):
                verdicts[question.key] = verdict


def _rank(match: Match) -> tuple[float, bool]:
    """Order matches in a tier, the best first; of equals a saved one."""
    return -match.cosine, not match.is_saved


class _Walk:
    """One batch, walked from its last item to its first each time that verdicts come in."""

    def __init__(
        self,
        entries: Sequence[Entry],
        index: ItemIndex,
        rules: Deduplicator,
        distinct: DistinctPairs,
        *,
        is_judged: bool,
    ) -> None:
        self._entries = entries
        self._calibration, self._guarded_pairs = rules.calibration, rules.guarded_pairs
        self._distinct, self._is_judged = distinct, is_judged
        self._at = rules.calibration.to_cosine(DUPLICATE_AT)
        self._grey_from = rules.calibration.to_cosine(GREY_FROM)
        self._grey_to = rules.calibration.to_cosine(GREY_TO)
        self._saved = index.find_neighbours(entries, self._grey_from, MAX_NEIGHBOURS)
        self._exact = [index.find_exact(entry) for entry in entries]
        self._alike = index.find_near_exact(entries)
        self._differences: dict[tuple[str, str], Difference | None] = {}

    def decide(
        self, verdicts: Mapping[str, Verdict | None]
    ) -> tuple[dict[int, Decision], list[Question]]:
        """Return what these verdicts decide, by position, and the questions the others wait for."""
        decisions: dict[int, Decision] = {}
        questions: list[Question] = []
        kept: list[Entry] = []
        waiting: list[Entry] = []
        for position in reversed(range(len(self._entries))):
            entry = self._entries[position]
            decision = self._decide_item(position, kept, verdicts)
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

    def _decide_item(
        self, position: int, kept: Sequence[Entry], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | Question:
        """Decide about an item, tier by tier."""
        entry = self._entries[position]
        own = [Match(other, entry.cosine(other), is_saved=False) for other in kept]
        same = [
            match for match in own if match.entry.id == entry.id or match.entry.key == entry.key
        ]
        for match in self._best(entry, self._exact[position] + same):
            if match.is_saved and match.entry.id == entry.id:
                return self._drop(entry, match, "exact", "saved already, under the same id")
            return self._drop(entry, match, "exact", "the same text after normalisation")
        alike = self._alike[position] + [match for match in own if match.entry.is_near_exact(entry)]
        for match in self._best(entry, alike):
            if self._difference(entry, match) is None:
                share = entry.jaccard(match.entry)
                reason = f"the same words, {share:.0%} of the word triples"
                return self._drop(entry, match, "near_exact", reason)
        return self._compare(entry, [*self._saved[position], *own], verdicts)

    def _compare(
        self, entry: Entry, matches: Sequence[Match], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | Question:
        """Decide by cosine, and by verdict in the grey zone."""
        near = list(self._best(entry, matches))
        reach = [match for match in near if match.cosine >= self._grey_from]
        free = self._choose(entry, reach, is_guarded=False)
        if free and free[0].cosine >= self._grey_to:
            return self._drop(entry, free[0], "embedding", "nearer than the grey zone")
        if self._is_judged:
            judged = free
            if self._guarded_pairs == "judge":
                guarded = self._choose(entry, reach, is_guarded=True)
                judged = sorted(free + guarded, key=_rank)
            found = self._read_verdicts(entry, judged, verdicts)
            if found is not None:
                return found
        if free and free[0].cosine >= self._at:
            reason = "at or above the threshold"
            return self._drop(entry, free[0], "embedding", reason)
        for match in reach:
            if match.cosine >= self._at:
                difference = self._difference(entry, match)
                return self._keep(entry, match, "guard", f"they differ in a {difference}")
        reason = "below the threshold" if near else "there is nothing to compare it with"
        return self._keep(entry, near[0] if near else None, "embedding", reason)

    def _choose(self, entry: Entry, matches: Sequence[Match], *, is_guarded: bool) -> list[Match]:
        """Return the first `MAX_JUDGED` that contradict an item, or that do not."""
        chosen = (
            match for match in matches if (self._difference(entry, match) is not None) == is_guarded
        )
        return list(islice(chosen, MAX_JUDGED))

    def _read_verdicts(
        self, entry: Entry, matches: Sequence[Match], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | Question | None:
        """Decide by verdicts, one after the other; `None` if there are none."""
        distinct: tuple[Match, Verdict] | None = None
        for match in matches:
            question = self._ask(entry, match)
            if question.key not in verdicts:
                return question
            verdict = verdicts[question.key]
            if verdict is None:
                if match.cosine < self._at or self._difference(entry, match) is not None:
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

    def _best(self, entry: Entry, matches: Sequence[Match]) -> Iterator[Match]:
        """Yield matches, best first, without those that an operator has declared distinct."""
        for match in sorted(matches, key=_rank):
            if frozenset({entry.id, match.entry.id}) not in self._distinct:
                yield match

    def _may_repeat(self, entry: Entry, other: Entry) -> bool:
        """Return whether an item might be dropped for another one, were that kept."""
        is_distinct = frozenset({entry.id, other.id}) in self._distinct
        return not is_distinct and entry.cosine(other) >= self._grey_from

    def _difference(self, entry: Entry, match: Match) -> Difference | None:
        pair = entry.id, match.entry.id
        if pair not in self._differences:
            self._differences[pair] = find_difference(entry.facts, match.entry.facts)
        return self._differences[pair]

    def _ask(self, entry: Entry, match: Match) -> Question:
        new, other = excerpt_pair(entry.text, match.entry.text)
        return Question(
            key=sha256(b"".join(sorted((entry.key, match.entry.key)))).hexdigest(),
            new_id=entry.id,
            other_id=match.entry.id,
            new_excerpt=new,
            other_excerpt=other,
        )

    def _drop(
        self, entry: Entry, match: Match, tier: Tier, reason: str, judge: str = ""
    ) -> Decision:
        return replace(self._keep(entry, match, tier, reason, judge), is_kept=False)

    def _keep(
        self, entry: Entry, match: Match | None, tier: Tier, reason: str, judge: str = ""
    ) -> Decision:
        kept = Decision(entry.id, True, tier, self._calibration.model, reason, judge=judge)
        if match is None:
            return kept
        return replace(
            kept,
            match_id=match.entry.id,
            is_match_saved=match.is_saved,
            score=self._calibration.to_score(match.cosine),
            cosine=match.cosine,
            difference=self._difference(entry, match),
        )
