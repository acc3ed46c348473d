"""The lock of a project, which one gather run at a time has (SPEC §4, State and resume).

It is a lease that names its run, which has it until it is closed, also while no process works on
it; its token grows each time it is taken.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.gather.errors import ProjectBusy, RunSuperseded
from aletheia.store.clock import SYSTEM_CLOCK, Clock, TimeUnit
from aletheia.store.lease import DEFAULT_SKEW_S, Leases, LeaseTerms

LOCKS: Final = "aletheia_gather_locks"

LEASE_S: Final = 60.0

log = logging.getLogger(__name__)


HolderState: TypeAlias = Literal["running", "suspended", "waiting", "ended", "unknown"]
"""State of the run that has a project, as Prefect knows it; `waiting` is one that starts by itself:
scheduled, pending, or waiting for a retry."""

StateOf: TypeAlias = Callable[[str], Awaitable[HolderState]]
"""Returns the state of a flow run, by its id."""


class ProjectLocks:
    """The locks of all projects in one durable store; `lease_s`: until renewal, seconds."""

    def __init__(
        self, documents: Documents, *, clock: Clock = SYSTEM_CLOCK, lease_s: float = LEASE_S
    ) -> None:
        self._documents, self._clock = documents, clock
        self._terms = LeaseTerms(
            lease_s,
            DEFAULT_SKEW_S,
            owner="run_id",
            token="token",  # noqa: S106 - the name of a value
            unit=TimeUnit.SECONDS,
        )
        self._leases = Leases(documents, LOCKS, self._terms, clock=clock)

    async def take(self, project_id: str, run_id: str, state_of: StateOf) -> Document:
        """Take a project's lock for a run that has not begun; return the lock.

        Raises:
            ProjectBusy: another run has it.
        """
        while True:
            lock = await self._read(project_id)
            if lock is None:
                values = self._terms.values(run_id, self._clock.now())
                fresh = {"_id": project_id, "token": 1, "previous": None, "is_held": True, **values}
                if await self._documents.insert(LOCKS, [fresh]):
                    return fresh
                continue
            previous = None if lock["run_id"] == run_id else lock["run_id"]
            if previous is not None:
                await self._check_free(lock, state_of)
            if (taken := await self._take(lock, run_id, previous)) is not None:
                return taken

    async def retake(self, run: Document) -> Document:
        """Take a project's lock for another attempt at a run that has begun; return the lock."""
        run_id = run["_id"]
        while True:
            lock = await self._read(run["project_id"])
            if lock is None or lock["run_id"] != run_id:
                by = "unknown" if lock is None else lock["run_id"]
                raise RunSuperseded(run_id, run["superseded_by"] or by)
            if (taken := await self._take(lock, run_id)) is not None:
                return taken

    async def renew(self, project_id: str, run_id: str, token: int) -> bool:
        """Begin the lease of a lock anew; return whether the attempt with this token has it."""
        change = Change(set={"lease_until": self._terms.end(self._clock.now())})
        update = Update(project_id, change, {"run_id": run_id, "token": token})
        return (await self._documents.update(LOCKS, [update]))[0]

    async def free(self, project_id: str, run_id: str) -> None:
        """Free a project for other runs, if this run has it."""
        change = Change(set={"is_held": False})
        await self._documents.update(LOCKS, [Update(project_id, change, {"run_id": run_id})])

    async def is_abandoned(self, project_id: str, run_id: str) -> bool:
        """Return whether another run has the lock, or its lease has run out."""
        lock = await self._read(project_id)
        return lock is None or lock["run_id"] != run_id or self._leases.is_free(lock)

    async def _read(self, project_id: str) -> Document | None:
        return (await self._documents.get(LOCKS, [project_id])).get(project_id)

    async def _take(
        self, lock: Document, run_id: str, previous: str | None = None
    ) -> Document | None:
        """Take a lock as it was read; `None` if it has changed since."""
        values = {"is_held": True} if previous is None else {"is_held": True, "previous": previous}
        lease = await self._leases.take(
            lock["_id"], run_id, seen=lock, change=Change(set=values), is_over=True
        )
        return None if lease is None else lease.document

    async def _check_free(self, lock: Document, state_of: StateOf) -> None:
        """Check that a lock of another run may be taken."""
        if not lock["is_held"]:
            return
        state = await state_of(lock["run_id"])
        is_gone = state in ("running", "unknown") and self._leases.is_free(lock)
        if state != "ended" and not is_gone:
            raise ProjectBusy(lock["run_id"], lock["_id"], state)
        log.warning("project %r is taken over from run %r", lock["_id"], lock["run_id"])
