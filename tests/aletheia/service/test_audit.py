import pytest

from aletheia.documents import Documents
from aletheia.service.audit import purge_audit, record_action
from aletheia.service.roles import Caller, Role
from aletheia.store.audit import AUDIT
from tests.fakes.clock import MovableClock

OPERATOR = Caller("somebody", frozenset({Role.OPERATOR, Role.VIEWER}), 2e9)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


async def test_it_says_who_asked_for_what_and_when(documents: Documents, clock: MovableClock):
    await record_action(documents, OPERATOR, "intake pause", {"why": "x"}, clock=clock.both)
    (record,) = await documents.find(AUDIT, {})
    assert (record["subject"], record["roles"]) == ("somebody", ["operator", "viewer"])
    assert (record["action"], record["details"]) == ("intake pause", {"why": "x"})
    assert record["at"] == clock.both.now()


async def test_old_records_are_purged(documents: Documents, clock: MovableClock):
    await record_action(documents, OPERATOR, "intake pause", {}, clock=clock.both)
    clock.move(days=2)
    await record_action(documents, OPERATOR, "intake resume", {}, clock=clock.both)
    assert await purge_audit(documents, 86_400, clock=clock.both) == 1
    (record,) = await documents.find(AUDIT, {})
    assert record["action"] == "intake resume"
