"""Who asked for what, when and from where."""

from typing import Any

from aletheia.documents import Documents
from aletheia.store.audit import MAX_CHARS, Actor, AuditLog
from tests.fakes.clock import MovableClock

ADA = Actor("ada", "the service, 10.0.0.7", ("operator", "viewer"))


async def test_an_entry_says_who_asked_for_what_and_when_from_where(documents: Documents):
    clock = MovableClock()
    audit = AuditLog(documents, clock=clock.both)
    await audit.prepare()
    assert await audit.record(ADA, "intake pause", {"why": "a drill"})
    clock.move(seconds=5)
    await audit.record(Actor("x" * 1000, "y" * 1000), "intake resume", {})
    last, first = await audit.newest(10)
    assert (first.who, first.source) == ("ada", "the service, 10.0.0.7")
    assert (first.roles, first.action) == (("operator", "viewer"), "intake pause")
    assert first.details == {"why": "a drill"}
    assert (last.at - first.at).total_seconds() == 5
    assert (len(last.who), len(last.source)) == (MAX_CHARS, MAX_CHARS)
    assert [entry.action for entry in await audit.newest(1)] == ["intake resume"]


async def test_what_is_asked_for_again_is_one_entry_and_stays_as_it_was(documents: Documents):
    audit = AuditLog(documents)
    assert await audit.record(ADA, "replay", {"limit": 1}, id_="a")
    assert not await audit.record(Actor("ben", "elsewhere"), "replay", {"limit": 2}, id_="a")
    (entry,) = await audit.newest(10)
    assert (entry.who, entry.details) == ("ada", {"limit": 1})


async def test_an_entry_of_an_earlier_version_is_read(documents: Documents):
    old: dict[str, Any] = {
        "_id": "a",
        "at": 1,
        "subject": "ada",
        "roles": [],
        "action": "x",
        "details": {},
    }
    await documents.insert("aletheia_service_audit", [old])
    (entry,) = await AuditLog(documents).newest(10)
    assert (entry.who, entry.source) == ("ada", "")
