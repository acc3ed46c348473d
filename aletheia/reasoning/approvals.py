"""Approvals of plans: used once, within their time, for exactly what was approved (SPEC §5).

    unused ──▶ consumed ──▶ begun ──▶ done | failed
       │           ├── resumed, once, by another run if the first one died before its first step
       │           └──▶ lost, as from begun, if its run was lost and the plan is approved again
       └──▶ expired (by the clock; asked for again)

Each arrow is one conditional write. Whatever a run does afterwards carries the approval's id as
idempotency key, and leaves a record in the audit log.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import InvalidTask
from aletheia.reasoning.findings import Finding
from aletheia.reasoning.models import AIActionPlan
from aletheia.reasoning.plans import MAX_STEPS, check_steps, digest_plan
from aletheia.store.clock import SYSTEM_CLOCK, Clock, microseconds, microseconds_of, moment
from aletheia.store.numbered_log import NumberedLog

APPROVALS: Final = "aletheia_approvals"
AUDIT: Final = "aletheia_plan_audit"
AUDIT_PURGED: Final = "aletheia_plan_audit_purged"

RESUMABLE_AFTER_S: Final = 30.0
"""How long a run has for its first step before another one may take its approval, seconds."""

LOST_AFTER_S: Final = MAX_STEPS * 1800.0
"""When a run that has begun is over for certain, seconds: the time limit of each step, added up."""

MAX_TRIES: Final = 5
"""Tries of an approval whose row several approvers write at once."""

_SALT: Final = "salt"

ApprovalState: TypeAlias = Literal["unused", "consumed", "begun", "done", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's approval of a plan."""

    id: str
    plan_id: str
    digest: str  # of the plan and the findings it answers
    who: str
    role: str
    at: datetime
    expires_at: datetime
    state: ApprovalState
    run_id: str  # of the run that uses it; empty until then
    traceparent: str | None = None  # of the reasoning run whose plan it is


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One thing that was done in the name of an approval."""

    seq: int
    at: datetime
    event: str  # such as `approved`, `step_started`
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlanProgress:
    """How far a plan is: its newest approval, and what was done in its name."""

    approval: Approval | None  # `None`: nobody has approved it
    records: tuple[AuditRecord, ...]
    is_open: bool  # whether it can be approved now


class Approvals:
    """The approvals of one store, and the record of what they were used for."""

    def __init__(
        self,
        documents: Documents,
        *,
        ttl_s: float,
        lost_after_s: float = LOST_AFTER_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._documents, self._ttl_s, self._clock = documents, ttl_s, clock
        self._lost_after_s = lost_after_s
        self._audit = NumberedLog(documents, AUDIT, purged=AUDIT_PURGED, clock=clock)

    async def prepare(self) -> None:
        """Make the look-ups fast. Idempotent."""
        await self._audit.prepare()
        await self._documents.ensure_index(APPROVALS, ["plan_id"])
        await self._documents.ensure_index(APPROVALS, ["digest", "number"])
        await self._documents.ensure_index(APPROVALS, ["run_id"])

    async def approve(
        self,
        plan: AIActionPlan,
        findings: Sequence[Finding],
        digest: str,
        *,
        planned_at: datetime,
        who: str,
        role: str,
        traceparent: str | None = None,
    ) -> Approval:
        """Approve a plan as it is now; a second approver of the same one gets the same approval.

        `digest`: of what the approver has seen; `planned_at`: when the plan was made, and
        `traceparent`: in which trace. A plan that was carried out, or whose run was lost, can be
        approved again once a later run proposes the same.

        Raises:
            InvalidTask: `plan_changed`: it is not what was seen; `nothing_to_do`; `already_used`:
                it was approved, and that approval is used; or a step is not on the allow-list.
        """
        check_plan(plan, findings, digest)
        if not any(step.automated for step in plan.steps):
            raise InvalidTask("nothing_to_do", "no step of the plan can be carried out")
        said = {"who": who[:200], "role": role[:60], "traceparent": traceparent}
        approval = await self._place(plan, digest, microseconds_of(planned_at), said)
        details = {"who": approval.who, "role": approval.role, "plan_id": plan.plan_id}
        await self.note(approval.id, f"approved:{approval.at.isoformat()}", "approved", details)
        return approval

    async def _place(
        self, plan: AIActionPlan, digest: str, planned_at: int, said: Mapping[str, Any]
    ) -> Approval:
        """Return the unused approval of a plan: new if there is none, renewed if it is over."""
        for _ in range(MAX_TRIES):
            newest = await self._find_newest(digest)
            now, number = self._clock.now(), 1
            fresh = {**said, "at": now, "expires_at": now + microseconds(self._ttl_s)}
            if newest is not None and newest["state"] == "unused":
                if newest["expires_at"] > now:
                    return _read(newest)
                where = {"state": "unused", "expires_at": newest["expires_at"]}
                renewal = Update(newest["_id"], Change(set=fresh), where)
                await self._documents.update(APPROVALS, [renewal])
                continue
            if newest is not None:
                if not self._is_over(newest, planned_at):
                    break
                if newest["state"] in ("consumed", "begun") and not await self._end_lost(newest):
                    continue
                number = int(newest["number"]) + 1
            document: Document = {
                "_id": await self._make_id(digest, number),
                "number": number,
                "plan_id": plan.plan_id,
                "digest": digest,
                "plan": plan.model_dump(mode="json"),
                **fresh,
                "state": "unused",
                "run_id": "",
                "resumes": 0,
            }
            await self._documents.insert(APPROVALS, [document])
        raise InvalidTask("already_used", "this plan was approved before, and is used up")

    def _is_over(self, row: Document, planned_at: int) -> bool:
        """Return whether a used approval gives way to another one of a plan made later."""
        if row["state"] == "lost":
            return True
        if row["state"] in ("done", "failed"):
            return 0 < int(row.get("ended_at") or 0) < planned_at
        now, consumed_at = self._clock.now(), int(row["consumed_at"])
        if row["state"] == "consumed":  # its run died before its first step
            return consumed_at + microseconds(RESUMABLE_AFTER_S) <= now
        return consumed_at + microseconds(self._lost_after_s) < min(now, planned_at)

    async def _end_lost(self, row: Document) -> bool:
        """End an approval whose run was lost; return whether it was still as in this row."""
        where = {name: row[name] for name in ("state", "run_id", "consumed_at")}
        change = Change(set={"state": "lost", "ended_at": self._clock.now()})
        (is_ours,) = await self._documents.update(APPROVALS, [Update(row["_id"], change, where)])
        if is_ours:
            await self.note(row["_id"], f"lost:{row['run_id']}", "lost", {"run_id": row["run_id"]})
        return is_ours

    async def _make_id(self, digest: str, number: int) -> str:
        """Return the id of an approval, which is that of no approval in another store.

        Servers that several systems share take it as idempotency key.
        """
        await self._documents.insert(APPROVALS, [{"_id": _SALT, "value": uuid.uuid4().hex}])
        salt = (await self._documents.get(APPROVALS, [_SALT]))[_SALT]["value"]
        return f"{hashlib.sha256(f'{salt}{digest}'.encode()).hexdigest()[:32]}-{number}"

    async def _find_newest(self, digest: str) -> Document | None:
        where = {"digest": digest}
        found = await self._documents.find(
            APPROVALS, where, sort="number", descending=True, limit=1
        )
        return found[0] if found else None

    async def progress(self, digest: str, planned_at: datetime) -> PlanProgress:
        """Return how far the plan with a digest is, which was made at a moment."""
        row = await self._find_newest(digest)
        if row is None:
            return PlanProgress(None, (), is_open=True)
        if row["state"] == "unused":
            is_open = int(row["expires_at"]) <= self._clock.now()
        else:
            is_open = self._is_over(row, microseconds_of(planned_at))
        return PlanProgress(_read(row), tuple(await self.records(row["_id"])), is_open)

    async def find_unused(self, plan_id: str) -> Approval | None:
        """Return the approval of a plan that can be used now; `None` if there is none."""
        where = {"plan_id": plan_id, "state": "unused", "expires_at": {"$gt": self._clock.now()}}
        found = await self._documents.find(APPROVALS, where, sort="number", limit=1)
        return _read(found[0]) if found else None

    async def find_of_run(self, run_id: str) -> Approval | None:
        """Return the approval that a run uses; `None` if it uses none."""
        found = await self._documents.find(APPROVALS, {"run_id": run_id}, limit=1)
        return _read(found[0]) if found else None

    async def find(self, approval_id: str) -> Approval | None:
        """Return an approval; `None` if there is none."""
        row = (await self._documents.get(APPROVALS, [approval_id])).get(approval_id)
        return None if row is None else _read(row)

    async def read_plan(self, approval_id: str) -> AIActionPlan:
        """Return the plan as it was approved. Raises `InvalidTask`: `unknown_approval`."""
        row = (await self._documents.get(APPROVALS, [approval_id])).get(approval_id)
        if row is None:
            raise InvalidTask("unknown_approval", f"there is no approval {approval_id[:80]!r}")
        return AIActionPlan.model_validate(row["plan"])

    async def consume(
        self, approval_id: str, plan: AIActionPlan, findings: Sequence[Finding], *, run_id: str
    ) -> Approval:
        """Use an approval for a run: of any number of runs one gets it.

        A run that has it already gets it again, and another one if the first has died before its
        first step, once.

        Raises:
            InvalidTask: `plan_changed`, `approval_expired`, `already_used`, `unknown_approval`.
        """
        approval = await self.find(approval_id)
        if approval is None:
            raise InvalidTask("unknown_approval", f"there is no approval {approval_id[:80]!r}")
        if approval.run_id == run_id:
            return approval
        check_plan(plan, findings, approval.digest)
        now = self._clock.now()
        change = {"state": "consumed", "run_id": run_id, "consumed_at": now}
        first = {"state": "unused", "expires_at": {"$gt": now}}
        died = {
            "state": "consumed",
            "resumes": 0,
            "expires_at": {"$gt": now},
            "consumed_at": {"$lte": now - microseconds(RESUMABLE_AFTER_S)},
        }
        updates = [
            Update(approval_id, Change(set=change), first),
            Update(approval_id, Change(set=change, increase={"resumes": 1}), died),
        ]
        for update, event in zip(updates, ("consumed", "resumed"), strict=True):
            (is_ours,) = await self._documents.update(APPROVALS, [update])
            if is_ours:
                await self.note(approval_id, f"{event}:{run_id}", event, {"run_id": run_id})
                break
        approval = await self.find(approval_id)
        if approval is None or approval.run_id != run_id:
            is_late = approval is not None and approval.state == "unused"
            code = "approval_expired" if is_late else "already_used"
            raise InvalidTask(code, "it is over" if is_late else "another run has used it")
        return approval

    async def begin(self, approval_id: str, *, run_id: str) -> None:
        """Note that the first step begins; from here on no other run gets the approval.

        Raises:
            InvalidTask: `already_used`: another run has it, or it is over.
        """
        where = {"run_id": run_id, "state": {"$in": ["consumed", "begun"]}}
        (is_ours,) = await self._documents.update(
            APPROVALS, [Update(approval_id, Change(set={"state": "begun"}), where)]
        )
        if not is_ours:
            raise InvalidTask("already_used", "another run has used the approval")

    async def end(self, approval_id: str, *, run_id: str, state: ApprovalState) -> None:
        """Note that all steps are done, or that one failed."""
        where = {"run_id": run_id, "state": "begun"}
        change = Change(set={"state": state, "ended_at": self._clock.now()})
        await self._documents.update(APPROVALS, [Update(approval_id, change, where)])

    async def note(self, approval_id: str, key: str, event: str, details: dict[str, Any]) -> bool:
        """Add a record to the audit log, unless one with its key is there; return whether."""
        before = await self._audit.end(approval_id)
        record = await self._audit.append(
            approval_id, key, lambda _seq, _at: {"event": event, "details": details}
        )
        return int(record["seq"]) > before

    async def records(self, approval_id: str) -> list[AuditRecord]:
        """Return what was done in the name of an approval, in order."""
        return [
            AuditRecord(
                seq=int(entry["seq"]),
                at=moment(entry["at"]),
                event=entry["event"],
                details=entry["details"],
            )
            for entry in await self._audit.read(approval_id)
        ]


def check_plan(plan: AIActionPlan, findings: Sequence[Finding], digest: str) -> None:
    """Check that a plan and its findings are those of a digest, and its steps on the allow-list.

    Raises:
        InvalidTask: `plan_changed`, `unknown_action`, `invalid_payload`.
    """
    if digest_plan(plan, findings) != digest or plan.digest != digest:
        message = "the plan, or the findings it answers, changed; approve it again"
        raise InvalidTask("plan_changed", message)
    check_steps(plan)


def _read(row: Document) -> Approval:
    return Approval(
        id=row["_id"],
        plan_id=row["plan_id"],
        digest=row["digest"],
        who=row["who"],
        role=row["role"],
        at=moment(row["at"]),
        expires_at=moment(row["expires_at"]),
        state=row["state"],
        run_id=row["run_id"],
        traceparent=row.get("traceparent"),
    )
