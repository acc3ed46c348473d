"""How many tasks may wait in a lane before further ones stay where they are (SPEC §1, Lanes)."""

import logging
from collections.abc import Sequence
from typing import Final

from aletheia.intake.lanes.queue import LaneQueue

LANE_MAX_WAITING: Final = 1000
"""`LANE_MAX_WAITING` where it is not set."""

log = logging.getLogger(__name__)


class LaneCapacity:
    """The bound of each lane; shifts that hand over at the same moment may exceed it a little."""

    def __init__(self, queue: LaneQueue, max_waiting: int) -> None:
        self._queue, self._max_waiting = queue, max_waiting

    async def find_surplus(self, tasks: Sequence[tuple[str, str | None]]) -> set[str]:
        """Return the ids of those tasks, of some with their lanes, that their lanes do not take.

        Of a lane's tasks the first ones are taken.
        """
        ids: dict[str, list[str]] = {}
        for task_id, lane in tasks:
            if lane is not None:
                ids.setdefault(lane, []).append(task_id)
        surplus: set[str] = set()
        for lane, of_lane in ids.items():
            capacity = max(0, self._max_waiting - await self._queue.count_waiting(lane))
            if left := of_lane[capacity:]:
                log.warning("lane %r is full: %d tasks stay where they are", lane, len(left))
            surplus.update(left)
        return surplus
