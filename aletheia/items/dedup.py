"""Which items of a batch repeat something (SPEC §4, Dedup).

A batch is walked from its last item to its first. Each is compared with the saved items and with
the items of the batch that were kept so far, tier by tier. The first tier that finds a duplicate
decides, and records its best match:

    exact       the same text after normalisation
    near_exact  the same words but for endings and articles (found by MinHash)
    embedding   a probability from which 97 % and more are repetitions
    judge       a probability in the grey zone, and a model that decides whether both make one point
    operator    kept as a possible repetition, and dropped by an operator afterwards

Texts that align but for few words, or differ in a number, a date, a name or the like, are no
duplicates in any tier but the first, unless a judge decides so. Pairs that an operator declared
distinct never are. Without a judge, what lies in the grey zone is kept as a possible repetition.

An item that needs a verdict defers only those that may repeat it, so that all verdicts of a batch
are asked for together, mostly in one round.
"""

import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from aletheia.items.calibration import Calibration
from aletheia.items.item_index import Entry, ItemIndex, Match
from aletheia.items.labelled_pairs import NEAREST
from aletheia.items.similarity import find_alignment, is_measurable, list_words
from aletheia.items.word_vectors import WordVectors
from aletheia.text.differences import DIFFERENCES
from aletheia.text.excerpts import excerpt_pair
from aletheia.text.facts import Difference

MAX_JUDGED: Final = 2
"""Pairs of one item that are judged, one after the other, most probable first. If none is a
duplicate, farther ones are none."""

MAX_JUDGED_SHARE: Final = 0.05
"""Share of a batch's pairs of an item and one of its `NEAREST` that a judge is asked about, at
most: one an item. First questions about an item go before second ones."""

MAX_COMPARED: Final = 6
"""Of an item's `NEAREST`, so many are compared word by word, the nearest ones: what repeats an item
is hardly ever farther, and each takes some tenths of a millisecond."""

MAX_BEHIND: Final = 0.15
"""Nor is what is farther than the nearest one by more than this, as raw cosines: of the labelled
repetitions, the nearest one of an item never is (docs/decisions/0013-similarity.md)."""

Tier: TypeAlias = Literal["exact", "near_exact", "guard", "embedding", "judge", "operator"]

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
    score: float | None = None  # probability that both make one point, 1 if equal; `None`: unknown
    cosine: float | None = None  # the raw one
    judge: str = ""  # the model that judged the pair; empty if none did
    difference: Difference | None = None  # in what the two differ that no similarity sees
    is_possible: bool = False  # kept, but may repeat its match: an operator decides


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
    """Decides about batches by the calibration of their embedding model.

    `words` are vectors of words by the same model; without them, words are as near to each other as
    they are on average.
    """

    calibration: Calibration
    guarded_pairs: GuardedPairs = "judge"
    words: WordVectors | None = None

    async def deduplicate(
        self,
        batch: Sequence[Entry],
        index: ItemIndex,
        judge: Judge | None = None,
        *,
        distinct: DistinctPairs = frozenset(),
    ) -> list[Decision]:
        """Decide about each item of a batch, oldest first, under the ids they would be saved with.

        The index is not changed: kept items are added when they are saved. Without a judge, or a
        verdict, items in the grey zone are kept as possible repetitions.

        Returns:
            One decision per item, in order. An item that is saved is a duplicate of itself.

        Raises:
            ValueError: the index is of another model.
        """
        model = self.calibration.model
        if index.model != model:
            raise ValueError(f"the index is of {index.model!r}, the calibration of {model!r}")
        walk = _Walk(batch, index, self, distinct, is_judged=judge is not None)
        if self.words is not None and self.calibration.similarity is not None:
            await self.words.prepare(sorted(list_words(walk.list_compared())))
        left = count_questions(len(batch))
        verdicts: dict[str, Verdict | None] = {}
        while True:
            decisions, questions = walk.decide(verdicts)
            if judge is None or not questions:
                return [decisions[position] for position in range(len(batch))]
            asked = questions[:left]
            answers = await judge(asked) if asked else ()
            # Those that are too many go without a verdict.
            verdicts |= {question.key: None for question in questions}
            for question, verdict in zip(asked, answers, strict=True):
                verdicts[question.key] = verdict
            left -= len(asked)


def count_questions(items: int) -> int:
    """Return how many pairs of a batch of so many items a judge may be asked about."""
    return math.ceil(MAX_JUDGED_SHARE * NEAREST * items)


def _rank(match: Match) -> tuple[float, bool]:
    """Order matches in a tier, the best first; of equals a saved one."""
    return -match.cosine, not match.is_saved


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and when it is asked: after how many others about its item, how probable."""

    question: Question
    after: int
    score: float


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
        self._calibration, self._rules = rules.calibration, rules
        self._distinct, self._is_judged = distinct, is_judged
        self._min_cosine = rules.calibration.min_cosine
        self._saved = index.find_neighbours(entries, self._min_cosine, MAX_COMPARED)
        self._exact = [index.find_exact(entry) for entry in entries]
        self._alike = index.find_near_exact(entries)
        self._scores: dict[tuple[str, str], float | None] = {}

    def list_compared(self) -> list[str]:
        """Return the texts of items that have one to be compared with, and of that."""
        found: dict[str, None] = {}
        for at, entry in enumerate(self._entries):
            near = [match.entry for match in self._reach(self._saved[at])]
            near += [
                other
                for other in self._entries[at + 1 :]
                if entry.cosine(other) >= self._min_cosine
            ]
            if near:
                found |= dict.fromkeys([entry.text, *(other.text for other in near)])
        return list(found)

    def _reach(self, near: Sequence[Match]) -> list[Match]:
        """Return the matches that are compared word by word, of some that come nearest first."""
        lowest = max(self._min_cosine, near[0].cosine - MAX_BEHIND) if near else 0.0
        return [match for match in near if match.cosine >= lowest][:MAX_COMPARED]

    def decide(
        self, verdicts: Mapping[str, Verdict | None]
    ) -> tuple[dict[int, Decision], list[Question]]:
        """Return what these verdicts decide, by position, and the questions the others wait for.

        Questions are in the order in which they should be asked if not all can be.
        """
        decisions: dict[int, Decision] = {}
        asked: list[_Asked] = []
        kept: list[Entry] = []
        waiting: list[Entry] = []
        for position in reversed(range(len(self._entries))):
            entry = self._entries[position]
            decision = self._decide_item(position, kept, verdicts)
            is_dropped = isinstance(decision, Decision) and not decision.is_kept
            if not is_dropped and any(self._may_repeat(entry, other) for other in waiting):
                waiting.append(entry)
            elif isinstance(decision, _Asked):
                asked.append(decision)
                waiting.append(entry)
            else:
                decisions[position] = decision
                if decision.is_kept:
                    kept.append(entry)
        asked.sort(key=lambda waiting_for: (waiting_for.after, -waiting_for.score))
        return decisions, [waiting_for.question for waiting_for in asked]

    def _decide_item(
        self, position: int, kept: Sequence[Entry], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | _Asked:
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
            if _find_difference(entry, match) is None:
                share = entry.jaccard(match.entry)
                reason = f"the same words, {share:.0%} of the word triples"
                return self._drop(entry, match, "near_exact", reason)
        return self._compare(entry, [*self._saved[position], *own], verdicts)

    def _compare(
        self, entry: Entry, matches: Sequence[Match], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | _Asked:
        """Decide by probability, and by verdict in the grey zone."""
        near = list(self._best(entry, matches))
        reach = self._reach(near)
        ranked = sorted(reach, key=lambda match: (-self._order(entry, match), *_rank(match)))
        for match in ranked:
            if self._is_sure(entry, match):
                reason = "so probable that hardly any such pair is none"
                return self._drop(entry, match, "embedding", reason)
        judged = self._choose_judged(entry, ranked)
        found = self._read_verdicts(entry, judged, verdicts)
        if found is not None:
            return found
        if ranked and self._order(entry, ranked[0]) >= self._calibration.grey_from:
            return self._keep_possible(entry, ranked[0])
        nearest = ranked[0] if ranked else near[0] if near else None
        reason = "there is nothing to compare it with" if nearest is None else "hardly probable"
        return self._keep(entry, nearest, "embedding", reason)

    def _choose_judged(self, entry: Entry, ranked: Sequence[Match]) -> list[Match]:
        """Return the pairs that a judge may be asked about, at most `MAX_JUDGED`."""
        if not self._is_judged:
            return []
        judged_from = self._calibration.judged_from
        is_all = self._rules.guarded_pairs == "judge"
        chosen = [
            match
            for match in ranked
            if self._order(entry, match) >= judged_from
            and (is_all or _find_difference(entry, match) is None)
        ]
        return chosen[:MAX_JUDGED]

    def _read_verdicts(
        self, entry: Entry, matches: Sequence[Match], verdicts: Mapping[str, Verdict | None]
    ) -> Decision | _Asked | None:
        """Decide by verdicts, one after the other; `None` if there are none."""
        distinct: tuple[Match, Verdict] | None = None
        unjudged: Match | None = None
        for after, match in enumerate(matches):
            question = _ask(entry, match)
            if question.key not in verdicts:
                return _Asked(question, after, self._order(entry, match))
            verdict = verdicts[question.key]
            if verdict is None:
                unjudged = unjudged or match
            elif verdict.is_duplicate:
                return self._drop(entry, match, "judge", verdict.reason, verdict.model)
            else:
                distinct = distinct or (match, verdict)
        grey_from = self._calibration.grey_from
        if unjudged is not None and self._order(entry, unjudged) >= grey_from:
            return self._keep_possible(entry, unjudged)
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
        """Return whether an item might well be dropped for another one, were that kept."""
        match = Match(other, entry.cosine(other), is_saved=False)
        if match.cosine < self._min_cosine or frozenset({entry.id, other.id}) in self._distinct:
            return False
        return self._order(entry, match) >= self._calibration.grey_from

    def _is_sure(self, entry: Entry, match: Match) -> bool:
        """Return whether a pair is dropped without a judge: probable, and nothing against it."""
        score = self._score(entry, match)
        if score is None or not self._calibration.is_sure(score, match.cosine):
            return False
        is_known = is_measurable(entry.text) and is_measurable(match.entry.text)
        return is_known and _find_difference(entry, match) is None

    def _score(self, entry: Entry, match: Match) -> float | None:
        """Return the probability that two items make one point; `None` without calibration."""
        pair = entry.id, match.entry.id
        if pair not in self._scores:
            self._scores[pair] = self._calibration.measure(
                entry.text, match.entry.text, match.cosine, self._rules.words
            )
        return self._scores[pair]

    def _order(self, entry: Entry, match: Match) -> float:
        """Return what pairs are ordered by: the probability, or the cosine where there is none."""
        score = self._score(entry, match)
        return self._calibration.to_score(match.cosine) if score is None else score

    def _keep_possible(self, entry: Entry, match: Match) -> Decision:
        """Keep an item that may repeat another one, for an operator to decide."""
        difference = _find_difference(entry, match)
        tier: Tier = "embedding" if difference is None else "guard"
        why = DIFFERENCES[difference] if difference else "it may repeat it: nobody has judged"
        return replace(self._keep(entry, match, tier, why), is_possible=True)

    def _drop(
        self, entry: Entry, match: Match, tier: Tier, reason: str, judge: str = ""
    ) -> Decision:
        kept = self._keep(entry, match, tier, reason, judge)
        is_same = tier == "exact" and kept.score is not None
        return replace(kept, is_kept=False, score=1.0 if is_same else kept.score)

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
            score=self._score(entry, match),
            cosine=match.cosine,
            difference=_find_difference(entry, match),
        )


def _find_difference(entry: Entry, match: Match) -> Difference | None:
    return find_alignment(entry.text, match.entry.text).difference


def _ask(entry: Entry, match: Match) -> Question:
    new, other = excerpt_pair(entry.text, match.entry.text)
    return Question(
        key=sha256(b"".join(sorted((entry.key, match.entry.key)))).hexdigest(),
        new_id=entry.id,
        other_id=match.entry.id,
        new_excerpt=new,
        other_excerpt=other,
    )
