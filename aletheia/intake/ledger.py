"""The ledger: what is claimed, kept and reported, so that every effect happens exactly once.

A row stands for one content of one upstream id. Its life:

    claimed ──▶ processing ──▶ kept ──▶ reported
       │            │  ▲         │ ├──▶ conflict      delivered elsewhere
       │            ▼  │         │ └──▶ dead          the upstream refuses the report
       │          waiting        └────▶ kept          again later, for ever
       ├──▶ queued                                    for the workers of a lane, see `lanes`
       └──▶ conflict | dead

Whoever holds a row has a lease on it and a token. Every write names the token; a write with an
old one changes nothing. A row whose lease has run out is taken over with the next token.
"""

from typing import Final

from aletheia.analysis.processor import Lane
from aletheia.documents import Change, Document, Documents, Update
from aletheia.intake.claims import Claims
from aletheia.intake.counting import LANES_WITH_WORKERS
from aletheia.intake.dead_letters import DeadLetters
from aletheia.intake.models import IntakeStatus, RowState
from aletheia.intake.pauses import Pauses, name_flag, read_pauses
from aletheia.intake.reports import RESULTS, Reports
from aletheia.intake.rows import FLAGS, LEASED, ROWS, Rows
from aletheia.intake.waking import Waking
from aletheia.metrics import DEAD_LETTERS, LANE_WAITING, LEDGER_ROWS, UNFINISHED_STATES
from aletheia.settings import IntakeSettings
from aletheia.store.clock import SYSTEM_CLOCK, Clock
from aletheia.store.counters import correct_gauge

SHIFTS: Final = "aletheia_shifts"

_SECONDS_A_DAY = 86_400


class Ledger:
    """The ledger in one open store, as one poller sees it: the owner, for people to read."""

    def __init__(
        self,
        documents: Documents,
        settings: IntakeSettings,
        *,
        owner: str,
        clock: Clock = SYSTEM_CLOCK,
        lane: str = "intake",
    ) -> None:
        self._documents, self.settings, self.clock = documents, settings, clock
        self.rows = Rows(documents, settings, owner=owner, clock=clock, lane=lane)
        self.claims = Claims(self.rows)
        self.reports = Reports(self.rows, settings)
        self.dead_letters = DeadLetters(self.rows)
        self.waking = Waking(self.rows)

    async def prepare(self) -> None:
        """Make the look-ups fast. Idempotent."""
        for names in (["task_id"], ["state", "lease_until"], ["dead_code"], ["finished_at"]):
            await self._documents.ensure_index(ROWS, names)
        await self._documents.ensure_index(RESULTS, ["expires_at"])
        await self.claims.queue.prepare()

    async def overview(self) -> IntakeStatus:
        """Count what an operator asks about first."""
        ended = self.rows.terms.ended_where(self.clock.now())
        intake = await self._flags()
        pauses = read_pauses(intake)
        states = await self._documents.count_by(ROWS, "state", {})
        expired = await self._documents.count(ROWS, {"state": {"$in": LEASED}, **ended})
        return IntakeStatus(
            is_paused=pauses.is_all,
            paused_lanes=tuple(sorted(pauses.lanes)),
            paused_types=tuple(sorted(pauses.types)),
            states=states,
            held=sum(states.get(state, 0) for state in LEASED) - expired,
            expired=expired,
            waiting=states.get(RowState.WAITING, 0),
            dead=await self._documents.count_by(ROWS, "dead_code", {}),
            blocked_head=int(intake.get("blocked_head") or 0),
            unacknowledged=await self.reports.find_unacknowledged(),
            clock_ahead=await self.claims.strays.find_clock_ahead(),
            holders=await self.waking.list_holders(),
            waiting_until_s=await self._find_next_wait(),
        )

    async def _find_next_wait(self) -> float | None:
        """Return when the first of the tasks that wait goes on, Unix time; `None`: none waits."""
        waiting = {"state": RowState.WAITING}
        found = await self._documents.find(ROWS, waiting, sort="lease_until", limit=1)
        return float(found[0]["lease_until"]) if found else None

    async def purge(self) -> int:
        """Delete what has outlived its use: results past their time, old rows and shifts."""
        retention_s = self.settings.ledger_retention_days * _SECONDS_A_DAY
        before = {"$lt": self.clock.unix_s() - retention_s}
        gone = await self.reports.purge()
        dead = {"finished_at": before, "dead_code": {"$gt": ""}}
        gone += await self._documents.delete(
            ROWS, dead, limit=10_000, counts=DEAD_LETTERS.add(by=-1)
        )
        finished = {"finished_at": before, "dead_code": None}
        gone += await self._documents.delete(ROWS, finished, limit=10_000)
        return gone + await self._documents.delete(SHIFTS, {"started_at": before}, limit=10_000)

    async def correct_gauges(self) -> None:
        """Make the counters of what is there now agree with the rows; others may be at work."""

        async def count_unfinished() -> dict[tuple[str, ...], int]:
            counts = [await self._documents.count(ROWS, {"state": s}) for s in UNFINISHED_STATES]
            return {(state,): n for state, n in zip(UNFINISHED_STATES, counts, strict=True)}

        async def count_dead() -> dict[tuple[str, ...], int]:
            return {(): await self._documents.count(ROWS, {"dead_code": {"$gt": ""}})}

        async def count_in_lanes() -> dict[tuple[str, ...], int]:
            queue = self.claims.queue
            return {(lane,): await queue.count_waiting(lane) for lane in LANES_WITH_WORKERS}

        await correct_gauge(self._documents, LEDGER_ROWS, count_unfinished)
        await correct_gauge(self._documents, LANE_WAITING, count_in_lanes)
        await correct_gauge(self._documents, DEAD_LETTERS, count_dead)

    async def is_paused(self) -> bool:
        """Return whether intake as a whole is paused."""
        return bool((await self._flags()).get("is_paused"))

    async def pauses(self) -> Pauses:
        """Return what is paused: everything, lanes, task types."""
        return read_pauses(await self._flags())

    async def set_paused(
        self, *, is_paused: bool, lane: Lane | None = None, task_type: str | None = None
    ) -> None:
        """Pause or resume a lane, a task type, or, without either, intake as a whole.

        Every shift obeys within one tick. Raises `Misconfigured` as `name_flag`.
        """
        if lane is None and task_type is None:
            await self.set_flags(is_paused=is_paused, at=self.clock.unix_s())
            return
        flag = name_flag(lane, task_type)
        at = {"at": self.clock.unix_s()}
        change = Change(set={flag: True, **at}) if is_paused else Change(set=at, unset=[flag])
        await self._documents.upsert(FLAGS, [Update("intake", change)])

    async def set_flags(self, **values: float) -> None:
        """Write down what holds for intake as a whole, such as its `blocked_head`."""
        await self._documents.upsert(FLAGS, [Update("intake", Change(set=values))])

    async def _flags(self) -> Document:
        return (await self._documents.get(FLAGS, ["intake"])).get("intake", {})

    async def shift_start(self, run_id: str) -> float:
        """Return when a run's shift began, Unix time; a resumed run gets its first answer again."""
        now_s = self.clock.unix_s()
        await self._documents.insert(SHIFTS, [{"_id": run_id, "started_at": now_s}])
        shifts = await self._documents.get(SHIFTS, [run_id])
        return float(shifts[run_id]["started_at"])
