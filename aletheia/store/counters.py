"""Reading counters, and correcting those that stand for what is there now."""

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager

from aletheia.documents import Documents
from aletheia.series import Counters, Metric, Note
from aletheia.store.clock import SYSTEM_CLOCK, Clock

Count = Callable[[], Awaitable[Mapping[tuple[str, ...], int]]]
"""Counts what a gauge stands for, by the gauge's label values; those not named are 0."""


async def read_counters(documents: Documents) -> Counters:
    """Read all counters of a store, what this process has noted among them."""
    return Counters(await documents.counters())


@contextmanager
def timing(
    note: Note, histogram: Metric, *values: str, clock: Clock = SYSTEM_CLOCK
) -> Generator[None]:
    """Observe how long a block takes, whatever ends it, by the histogram's label values."""
    began_s = clock.steady_s()
    try:
        yield
    finally:
        note(histogram.observe(*values, amount=clock.steady_s() - began_s))


async def correct_gauge(documents: Documents, gauge: Metric, count: Count) -> bool:
    """Make a counted gauge say what is there; return whether it was wrong.

    On a store without transactions a killed process leaves it a little wrong, and a store of before
    has none. It is corrected by what two countings agree about: others may be writing.
    """
    first = await _find_differences(documents, gauge, count)
    if not first or await _find_differences(documents, gauge, count) != first:
        return False
    for values, difference in first.items():
        documents.note(gauge.add(*values, by=difference))
    return True


async def _find_differences(
    documents: Documents, gauge: Metric, count: Count
) -> dict[tuple[str, ...], float]:
    """Return by how much the parts of a gauge are too small."""
    shown = dict((await read_counters(documents)).sets(gauge))
    counted = await count()
    differences = {
        values: counted.get(values, 0) - shown.get(values, 0) for values in {*shown, *counted}
    }
    return {values: difference for values, difference in differences.items() if difference}
