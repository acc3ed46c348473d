"""Which process of pytest-xdist runs which test, and what is begun first.

A module stays whole, so that what its tests share is made once. Modules that share a server stay
together: each further Prefect server, worker or Neo4j costs 10 to 30 s of processor time. What
takes long is begun first, so that no process is at it alone in the end.
"""

from typing import Final

from xdist.scheduler import (  # pyright: ignore[reportMissingTypeStubs] - there are none
    LoadScopeScheduling,
)

TOGETHER: Final = {
    "deployments": ("tests/deployments/",),
    "flows that are stopped or reconciled": (
        *("tests/flows/test_bulk", "tests/flows/test_cancellation"),
        *("tests/flows/test_gather_interruptions", "tests/flows/test_interruptions"),
        *("tests/flows/test_poll_outages", "tests/flows/test_reconcile"),
    ),
    "other flows": ("tests/flows/",),
    "Neo4j": ("tests/aletheia/adapters/brain/",),
    "crashes": ("tests/aletheia/intake/test_bulk_crashes", "tests/aletheia/intake/test_crashes"),
}
"""Groups by the beginnings of their modules' paths, in the order in which they are begun."""


class ByServer(LoadScopeScheduling):
    """Gives each process one group or module after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return find_group(nodeid)


def find_group(nodeid: str) -> str:
    """Return the group of a test, or the path of its module where that is on its own."""
    groups = (name for name, paths in TOGETHER.items() if nodeid.startswith(paths))
    return next(groups, nodeid.partition("::")[0])


def rank(nodeid: str) -> int:
    """Return the place of a test's group; modules on their own come behind all groups."""
    places = (place for place, paths in enumerate(TOGETHER.values()) if nodeid.startswith(paths))
    return next(places, len(TOGETHER))
