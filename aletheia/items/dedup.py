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
"""

from collections.abc import Sequence

from aletheia.items.calibration import DUPLICATE_AT, GREY_FROM, GREY_TO, Calibration
from aletheia.items.dedup_walk import Rules, Walk
from aletheia.items.duplicates import (
    Decision,
    DistinctPairs,
    GuardedPairs,
    Judge,
    NewItem,
    Verdict,
)
from aletheia.items.item_index import ItemIndex, make_entry


class Deduplicator:
    """Decides about batches of one embedding model.

    Args:
        calibration: of that model.
        threshold: `DUPLICATE_AT` on the calibrated scale, in `(0, 1]`.
        guarded_pairs: `GUARDED_PAIRS`: pairs that contradict each other are kept, or judged.
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
        self._rules = Rules(
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
            distinct: pairs of ids that an operator has declared distinct.

        Returns:
            One decision per item. An item that is saved already is a duplicate of itself.

        Raises:
            ValueError: a vector is not finite, has no direction or another length than the
                index's, or the index is of another model.
        """
        if index.model != self._calibration.model:
            raise ValueError(
                f"the index is of {index.model!r}, the calibration of {self._calibration.model!r}"
            )
        entries = [make_entry(item.id, item.text, item.vector, index.dimensions) for item in batch]
        walk = Walk(entries, index, self._rules, distinct, is_judged=judge is not None)
        verdicts: dict[str, Verdict | None] = {}
        while True:
            decisions, questions = walk.go(verdicts)
            if judge is None or not questions:
                return [decisions[position] for position in range(len(batch))]
            answers = await judge.judge(questions)
            keys = [question.key for question in questions]
            verdicts.update(zip(keys, answers, strict=True))
