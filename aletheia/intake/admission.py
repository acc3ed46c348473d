"""What may be claimed now: tasks that can be done, as far as limits, budgets and breakers allow."""

import logging
from collections.abc import Iterable, Sequence

from aletheia.errors import AletheiaError, BudgetExceeded, Deferred, InvalidTask, Misconfigured
from aletheia.intake.counting import LANES_WITH_WORKERS
from aletheia.intake.held_claims import Batch, HeldClaims
from aletheia.intake.models import Entry, Task
from aletheia.intake.pauses import Pauses
from aletheia.intake.ports import Processors
from aletheia.logs import about_task

log = logging.getLogger(__name__)


class Admission:
    """Decides which tasks may be claimed."""

    def __init__(self, processors: Processors, held: HeldClaims) -> None:
        self._processors, self._held = processors, held
        self._pauses = Pauses()

    async def read_pauses(self) -> Pauses:
        """Read what is paused; `check` holds back those tasks until it is read again."""
        self._pauses = await self._held.ledger.pauses()
        return self._pauses

    def check(self, entry: Entry) -> tuple[InvalidTask | None, str | None]:
        """Return a task's fault, or its group; neither where that is not known for now."""
        if isinstance(entry.task, InvalidTask):
            return entry.task, None
        if self._pauses.holds(entry.task.type, self.lane(entry)):
            return None, None
        try:
            return None, self._processors.admit(entry.task.type, entry.task.input)
        except InvalidTask as problem:
            return problem, None
        except AletheiaError as outage:
            log.warning("task %r has to wait: %s", entry.id, outage, extra=about_task(entry.id))
            return None, None
        except Exception as fault:
            said = "task %r cannot be checked, and fails"
            log.exception(said, entry.id, extra=about_task(entry.id))
            return InvalidTask("internal_error", type(fault).__name__), None

    def lane(self, entry: Entry) -> str | None:
        """Return the lane whose workers compute a task; `None` is the shift itself."""
        if isinstance(entry.task, InvalidTask):
            return None
        lane = self._processors.lane(entry.task.type)
        return None if lane == "intake" else lane

    def types_of_other_lanes(self) -> dict[str, list[str]]:
        """Return by lane the types that are computed elsewhere, as the versions here are."""
        lanes = {name: self._processors.lane(name) for name in self._processors.types}
        return {
            lane: [name for name, its_lane in lanes.items() if its_lane != lane]
            for lane in LANES_WITH_WORKERS
        }

    async def find_deferred(
        self, tasks: Iterable[tuple[Task, str]], batch: Batch, *, asks_again: bool = False
    ) -> set[str]:
        """Return the ids of tasks, oldest first, with no capacity beside a batch.

        `asks_again` asks about groups, too, that are deferred until later.
        """
        groups: dict[tuple[str, str], list[Task]] = {}
        for task, group in tasks:
            groups.setdefault((task.type, group), []).append(task)
        deferred: set[str] = set()
        for (task_type, group), of_group in groups.items():
            if not asks_again and self._held.is_deferred(task_type, group):
                deferred.update(task.id for task in of_group)
            else:
                deferred |= await self._find_deferred(task_type, group, of_group, batch)
        return deferred

    async def _find_deferred(
        self, task_type: str, group: str, tasks: Sequence[Task], batch: Batch
    ) -> set[str]:
        collected = [
            claim.task.input
            for claim in batch.work
            if claim.task.type == task_type and claim.group == group
        ]
        left, deferred = list(tasks), set[str]()
        while left:
            inputs = [*collected, *(task.input for task in left)]
            try:
                asked = await self._processors.capacity(task_type, group, inputs)
            except BudgetExceeded as problem:
                if collected or problem.asked <= problem.limit:
                    self._defer(task_type, group, problem)
                    break
                # No budget ever has capacity for this one: no reason for others to wait.
                never = left.pop(0)
                deferred.add(never.id)
                self._held.tally.deferred[f"task {never.id}"] = str(problem)
                continue
            except (Deferred, Misconfigured) as problem:
                self._defer(task_type, group, problem)
                break
            capacity = max(0, asked - len(collected))
            return deferred | {task.id for task in left[capacity:]}
        return deferred | {task.id for task in left}

    def _defer(self, task_type: str, group: str, problem: AletheiaError) -> None:
        self._held.defer(task_type, group, problem)
        log.warning("%s tasks for %r stay pending: %s", task_type, group, problem)
