"""Actions, approvals and decisions are one list."""

from aletheia.audit_trail import list_acts
from aletheia.documents import Documents
from aletheia.reasoning.approvals import Approvals
from aletheia.reasoning.recommendations import RECOMMENDATIONS
from aletheia.store.audit import Actor, AuditLog
from aletheia.store.clock import microseconds_of
from tests.fakes.clock import MovableClock


async def test_what_people_did_is_listed_wherever_it_stands(documents: Documents):
    clock = MovableClock()
    approvals = Approvals(documents, ttl_s=60, clock=clock.both)
    await approvals.prepare()
    said = {"who": "ada", "role": "manager", "plan_id": "p1"}
    await approvals.note("a1", "approved:1", "approved", said)
    clock.move(seconds=1)
    await approvals.note("a1", "step:1", "step_started", {"action": "sweep"})
    await approvals.note("a2", "approved:1", "approved", said | {"role": "prefect-ui"})
    clock.move(seconds=1)
    await AuditLog(documents, clock=clock.both).record(Actor("ben", "here"), "intake pause", {})
    clock.move(seconds=1)
    decided = {"finding": "f", "decision": "dismissed", "reason": "a drill", "decided_by": "cleo"}
    rows = [
        {"_id": "r1", **decided, "decided_at": microseconds_of(clock.now)},
        {"_id": "r2", "finding": "g", "decided_at": None},
    ]
    await documents.insert(RECOMMENDATIONS, rows)
    acts = await list_acts(documents, 10)
    assert [(act.who, act.source, act.action) for act in acts] == [
        ("cleo", "the service", "recommendation decide"),
        ("ben", "here", "intake pause"),
        ("ada", "Prefect", "plan approve"),
        ("ada", "the service", "plan approve"),
    ]
    assert acts[0].details == {"finding": "f", "decision": "dismissed", "reason": "a drill"}
    assert acts[3].details == {"role": "manager", "plan_id": "p1"}
    assert len(await list_acts(documents, 2)) == 2
