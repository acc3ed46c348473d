"""How judges' answers about a department add up, and when it passes (SPEC §4, Quality).

What is counted is the first estimate of a department's quality. Each round of a judge's answers
says by how much that estimate is off: its *shift*. The rounds of a run add up, each weighted by how
much of the items it was about is still there, and move the estimate as far as they can be trusted:

    mean   = counted + trust · mean shift          trust = C² / (C² + J² + S²)
    spread = standard deviation of that mean       = √(trust · (J² + S²))
    bound  = mean - z · spread

`C` is how far the counted score is off (`COUNTED_DEVIATION`), `J` what all answers of one model
have in common (`COMMON_DEVIATION`), which no number of answers takes away, and `S` the standard
error of the mean shift. `S` is measured between rounds, not within them: answers of one round may
share an error.

A department passes when its mean is at its threshold and its bound above the threshold less
`MARGIN`, or when no more answers may be asked for and its mean is there. `z` rises with each round,
so that the chances of all rounds together to put the bound above what is true are at most
`MISTAKEN`: asking again does not wear the gate down.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, TypeAlias

from aletheia.quality.scores import PARTS, WEIGHTS, Part, Quality, QualityItem, weigh_parts

Shift: TypeAlias = tuple[float, ...]
"""By how much an opinion moves the parts, in their order, points."""

COUNTED_DEVIATION: Final = 5.0
"""Standard deviation of a true score around the counted one, points: that of the graded sets around
the middle of their grade, see `docs/accuracy.md`."""

COMMON_DEVIATION: Final = 9.5
"""Standard deviation of what all answers of a model have in common, points. With it, judges whose
answers of a run are all off by the same error of deviation 10 decide 0.6 % of departments wrongly
that are 5 points from the threshold: `trust` is then 0.2, and an error of 25 points is
needed (`bench.judgement`)."""

ANSWER_DEVIATION: Final = 10.0
"""Standard deviation of one answer, points, until rounds show another one."""

ROUND_CORRELATION: Final = 0.5
"""Share of that variance which the answers of one round are taken to have in common."""

MAX_SHIFT: Final = 10.0
"""Points by which judges move each part, and so the whole, at most."""

MAX_OPINION: Final = 40.0
"""Points that a round may differ from what is counted; what lies beyond counts no more."""

MARGIN: Final = 5.0
"""Points below the threshold that the bound may reach down to: what the gate can tell apart."""

MISTAKEN: Final = 0.05
"""Chance that the bound of any round lies above what is true, all rounds together, one-sided."""

MAX_ANSWERS: Final = 12
"""Answers about a department in a run; when they are spent, the mean decides."""

FORGOTTEN_BELOW: Final = 0.2
"""Share of the items in common, below which a round is about other items and no longer counts."""

_PRIOR_ROUNDS: Final = 3.0
_SKETCH: Final = 16
_UNKNOWN_WEIGHT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Opinion:
    """A round of answers: how many, their mean shift, and a sketch of the items it is about."""

    answers: int
    shift: Shift
    items: tuple[str, ...] = ()  # see `sketch_items`; empty if nobody knows

    @property
    def whole(self) -> float:
        """By how much it moves the whole, points."""
        return sum(WEIGHTS[part] * move for part, move in zip(PARTS, self.shift, strict=True))


@dataclass(frozen=True, slots=True)
class JudgeState:
    """State that one judgement passes to the next."""

    rounds: int = 0  # judgements of the run so far, over all its departments
    opinions: tuple[Opinion, ...] = ()  # about this department, oldest first
    answers: int = 0  # that were given about it, those of forgotten opinions among them

    @classmethod
    def from_document(
        cls,
        rounds: int = 0,
        shifts: Sequence[Sequence[float]] = (),
        opinions: Sequence[Mapping[str, Any]] = (),
        answers: int = 0,
    ) -> "JudgeState":
        """Return what was saved with `asdict`; `shifts` are the opinions of older notes."""
        earlier = [Opinion(1, tuple(shift)) for shift in shifts]
        read = [
            Opinion(int(known["answers"]), tuple(known["shift"]), tuple(known["items"]))
            for known in opinions
        ]
        return cls(rounds, (*earlier, *read), answers + len(earlier))

    def with_opinion(self, opinion: Opinion) -> "JudgeState":
        """Return the state after another round."""
        return JudgeState(
            self.rounds + 1, (*self.opinions, opinion), self.answers + opinion.answers
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of a department's quality, 0 to 100, after so many answers."""

    scores: Mapping[Part, float]  # the means of the parts
    answers: int  # that it rests on
    spread: float  # standard deviation of the mean, points
    bound: float  # one-sided, valid for all rounds together

    @property
    def mean(self) -> float:
        """The whole."""
        return weigh_parts(self.scores)

    def is_assured(self, threshold: float) -> bool:
        """Return whether it is good enough, whatever further answers may say."""
        return self.mean >= threshold and self.bound > threshold - MARGIN

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON, without the parts."""
        return {
            "answers": self.answers,
            "mean": self.mean,
            "spread": round(self.spread, 2),
            "bound": round(self.bound, 2),
            "margin": MARGIN,
        }


def sketch_items(items: Sequence[QualityItem]) -> tuple[str, ...]:
    """Return a sketch of a set of items: the smallest hashes of their ids."""
    hashes = {hashlib.sha256(item.id.encode(errors="replace")).hexdigest()[:8] for item in items}
    return tuple(sorted(hashes)[:_SKETCH])


def measure_overlap(sketch: Sequence[str], other: Sequence[str]) -> float:
    """Estimate which share of two sets of items both have, 0 to 1 (bottom-k sketches)."""
    if not sketch or not other:
        return _UNKNOWN_WEIGHT
    smallest = sorted({*sketch, *other})[:_SKETCH]
    return len(set(sketch) & set(other) & set(smallest)) / len(smallest)


def make_opinion(
    votes: Sequence[Mapping[Part, float]], counted: Quality, items: Sequence[QualityItem]
) -> Opinion:
    """Make one opinion of the answers of a round, at least one: scores of the parts, 0 to 100."""
    means = {part: sum(vote[part] for vote in votes) / len(votes) for part in PARTS}
    moves = (means[part] - counted.parts[part].score for part in PARTS)
    shift = tuple(round(max(-MAX_OPINION, min(MAX_OPINION, move)), 2) for move in moves)
    return Opinion(len(votes), shift, sketch_items(items))


def estimate_quality(
    counted: Quality, opinions: Sequence[Opinion], items: Sequence[QualityItem]
) -> Estimate:
    """Estimate a department's quality from what is counted and the opinions so far."""
    sketch = sketch_items(items)
    weighed = [(opinion, measure_overlap(opinion.items, sketch)) for opinion in opinions]
    weighed = [(opinion, weight) for opinion, weight in weighed if weight >= FORGOTTEN_BELOW]
    if not weighed:
        spread = COUNTED_DEVIATION
        bound = counted.total - _bound_factor(1) * spread
        return Estimate(counted.scores, 0, spread, bound)
    precisions = [weight / _round_variance(opinion.answers) for opinion, weight in weighed]
    total = sum(precisions)
    shares = [precision / total for precision in precisions]
    whole = sum(share * opinion.whole for share, (opinion, _) in zip(shares, weighed, strict=True))
    scatter = sum(
        precision * (opinion.whole - whole) ** 2
        for precision, (opinion, _) in zip(precisions, weighed, strict=True)
    )
    scale = max(0.5, (_PRIOR_ROUNDS + scatter) / (_PRIOR_ROUNDS + len(weighed) - 1))
    judged = COMMON_DEVIATION**2 + scale / total
    trust = COUNTED_DEVIATION**2 / (COUNTED_DEVIATION**2 + judged)
    spread = math.sqrt(trust * judged)
    scores: dict[Part, float] = {
        part: _move(
            counted.parts[part].score,
            trust
            * sum(
                share * opinion.shift[place]
                for share, (opinion, _) in zip(shares, weighed, strict=True)
            ),
        )
        for place, part in enumerate(PARTS)
    }
    bound = weigh_parts(scores) - _bound_factor(len(opinions)) * spread
    answers = sum(opinion.answers for opinion, _ in weighed)
    return Estimate(scores, answers, spread, bound)


def _move(score: float, by: float) -> float:
    bounded = max(-MAX_SHIFT, min(MAX_SHIFT, by))
    return round(max(0.0, min(100.0, score + bounded)), 2)


def _round_variance(answers: int) -> float:
    """Return the variance of the mean of a round's answers, points squared."""
    own = (1 - ROUND_CORRELATION) / answers
    return ANSWER_DEVIATION**2 * (ROUND_CORRELATION + own)


def _bound_factor(rounds: int) -> float:
    """Return `z` of a round: its share of `MISTAKEN` is 1 / (n (n + 1)), which sum up to 1."""
    return NormalDist().inv_cdf(1 - MISTAKEN / (rounds * (rounds + 1)))
