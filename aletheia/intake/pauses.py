"""What an operator has paused: intake as a whole, a lane, a task type (SPEC §7, `intake pause`).

What is paused stays pending upstream, or waits where it is; what is begun is finished.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aletheia.analysis.processor import LANES, Lane
from aletheia.errors import Misconfigured

PAUSED_LANES: Final = "paused_lanes"
PAUSED_TYPES: Final = "paused_types"
"""Names, in the flags of intake, of objects with an entry for each that is paused."""

_TYPE: Final = re.compile(r"[a-z0-9_-]{1,100}", re.ASCII)
"""What can be a name in a document; a type is written in lower case."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """What is paused at a moment."""

    is_all: bool = False
    lanes: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def holds(self, task_type: str, lane: str | None) -> bool:
        """Return whether tasks of a type wait; `lane` is its lane, `None` that of the shifts."""
        return self.is_all or task_type in self.types or (lane or "intake") in self.lanes


def read_pauses(flags: Mapping[str, Any]) -> Pauses:
    """Return what the flags of intake say is paused."""
    return Pauses(
        bool(flags.get("is_paused")),
        frozenset(flags.get(PAUSED_LANES) or {}),
        frozenset(flags.get(PAUSED_TYPES) or {}),
    )


def name_flag(lane: Lane | None, task_type: str | None) -> str:
    """Return the name of the flag of a lane, or a type.

    Raises:
        Misconfigured: both are named, or neither, or what is named can be none.
    """
    if (lane is None) == (task_type is None):
        raise Misconfigured("intake", "name a lane, or a task type")
    if lane is not None:
        if lane not in LANES:
            raise Misconfigured("lane", f"{lane[:40]!r} is none of {', '.join(LANES)}")
        return f"{PAUSED_LANES}.{lane}"
    name = (task_type or "").strip().lower()
    if not _TYPE.fullmatch(name):
        raise Misconfigured("type", f"{name[:40]!r} is not the name of a task type")
    return f"{PAUSED_TYPES}.{name}"
