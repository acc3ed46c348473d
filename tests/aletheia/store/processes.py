"""What processes do with a lease, a log and a cursor; some of them die at a chosen step.

Run as a program it serves the orders of `tests.crash.harness`, each `{"directory", "work",
"kill_at"}`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aletheia.documents import Change, Documents, Update
from aletheia.store.clock import SYSTEM_CLOCK
from aletheia.store.cursor import CursorPace, Cursors, DeadLetters
from aletheia.store.lease import Leases, LeaseTerms
from aletheia.store.numbered_log import NumberedLog
from tests.crash.harness import Steps, serve_orders
from tests.fakes.documents import SteppedDocuments

LEASED = "leased_things"
DONE = "done_things"
LOG = "numbered_things"
PURGED = "purged_things"
CURSORS = "cursors"
DEAD_LETTERS = "dead_letters"

LEASE_S = 0.1
TERMS = LeaseTerms(LEASE_S, skew_s=0, token="token")
PATIENCE = CursorPace(backoff_s=0, max_backoff_s=0, lease_s=LEASE_S, skew_s=0)
ENTRIES = 5
REFUSED = 3
"""Number of the entry that nobody takes."""


def numbered(documents: Documents) -> NumberedLog:
    return NumberedLog(documents, LOG, purged=PURGED)


def entry(number: int) -> Mapping[str, Any]:
    return {"is_about": f"entry {number}"}


async def take_once(documents: Documents, id_: str) -> int:
    """Take a lease, unless somebody else is faster; return its token, or 0."""
    lease = await Leases(documents, LEASED, LeaseTerms(60, token="token"), clock=SYSTEM_CLOCK).take(
        id_
    )
    return 0 if lease is None else lease.token


async def append_with_others(documents: Documents, rounds: int) -> list[int]:
    """Add entries that others add, too, and some of one's own between; return their numbers."""
    log = numbered(documents)
    numbers: list[int] = []
    for number in range(1, rounds + 1):
        for key in (f"common {number}", f"{os.getpid()} {number}"):
            appended = await log.append("p1", key, lambda seq, _: entry(seq))
            numbers.append(appended["seq"])
    return numbers


async def count_up(documents: Documents) -> None:
    """Count up once under a lease, in two writes of which the second is fenced."""
    lease = await Leases(documents, LEASED, TERMS, clock=SYSTEM_CLOCK).take("counter")
    assert lease is not None
    async with lease.hold():
        # Its id is the token, so a second write of one holding adds nothing.
        await documents.insert(DONE, [{"_id": f"{lease.token:03}"}])
        await lease.write({"last": lease.token})


async def append_all(documents: Documents) -> None:
    log = numbered(documents)
    for number in range(1, ENTRIES + 1):
        await log.append("p1", f"key {number}", lambda seq, _: entry(seq))


async def serve(documents: Documents) -> None:
    """Serve what follows the cursor; each entry is served by an upsert that counts."""
    cursors = Cursors(documents, CURSORS, PATIENCE)
    dead_letters = DeadLetters(documents, DEAD_LETTERS)
    turn = await cursors.take((await documents.get(CURSORS, ["p1"]))["p1"])
    assert turn is not None
    log, sent = numbered(documents), int(turn.cursor["sent"])
    while entries := await log.read("p1", after=sent, limit=2):
        for found in entries:
            seq = found["seq"]
            if seq == REFUSED:
                await dead_letters.add("p1", {found["_id"]: {"reason": "refused"}})
            else:
                change = Change(increase={"times": 1})
                await documents.upsert(DONE, [Update(found["_id"], change)])
            assert await turn.advance({"sent": seq})
            sent = seq
    await turn.lease.release()


WORKS = {"count": count_up, "append": append_all, "serve": serve}


async def _work(order: dict[str, Any], steps: Steps) -> None:
    documents = SteppedDocuments(Path(order["directory"]), steps)
    await documents.open()
    await WORKS[order["work"]](documents)
    await documents.close()


if __name__ == "__main__":
    serve_orders(_work)
