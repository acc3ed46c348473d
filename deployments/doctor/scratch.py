"""The operations that the stores need, tried: some services leave out a part without an error."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.errors import AletheiaError
from deployments.doctor.results import demand

COLLECTION: Final = "doctor_scratch"
"""Where the operations are tried; it is empty afterwards."""

NESTED: Final[dict[str, Any]] = {"rows": [[1, 2], [[], ["a"]]], "maps": [{"in": [{"deep": [0]}]}]}

CALLERS: Final = range(1, 9)
CONTESTS: Final = 5
"""Callers that want the same at once, and how often."""

ADVICE: Final = "use MongoDB 6 or newer, or unset MONGODB_URI; then aletheia setup"

Try: TypeAlias = Callable[[Documents, str], Awaitable[bool]]
"""Tries one operation with ids that begin so; returns whether it did what it should."""


async def check_operations(store: Documents) -> None:
    """Try every operation on an open store; what was written is deleted again."""
    run = secrets.token_hex(6)
    wrong: list[str] = []
    try:
        await store.ensure_index(COLLECTION, ["run", "rank"])
        for name, attempt in OPERATIONS.items():
            try:
                if not await attempt(store, run):
                    wrong.append(f"{name}: does something else, without an error")
            except (AletheiaError, LookupError, ValueError) as error:
                wrong.append(f"{name}: {error!s:.200}")
    finally:
        await store.delete(COLLECTION, {"run": run})
    demand(not wrong, f"this store lacks {'; '.join(wrong)}", ADVICE)


async def _try_unique_ids(store: Documents, run: str) -> bool:
    first = await store.insert(COLLECTION, [_make(run, "id", rank=1)])
    second = await store.insert(COLLECTION, [_make(run, "id", rank=2), _make(run, "id2", rank=3)])
    kept = await store.get(COLLECTION, [f"{run}id"])
    return (first, second) == ({f"{run}id"}, {f"{run}id2"}) and kept[f"{run}id"]["rank"] == 1


async def _try_conditional_update(store: Documents, run: str) -> bool:
    await store.insert(COLLECTION, [_make(run, "where", rank=1, nested={"count": 1})])
    change = Change(set={"rank": 2}, unset=["gone"], increase={"nested.count": 2})
    update = Update(f"{run}where", change, {"rank": 1, "nested.count": {"$lt": 2}})
    done = [*await store.update(COLLECTION, [update]), *await store.update(COLLECTION, [update])]
    row = (await store.get(COLLECTION, [f"{run}where"]))[f"{run}where"]
    return done == [True, False] and (row["rank"], row["nested"]) == (2, {"count": 3})


async def _try_upsert(store: Documents, run: str) -> bool:
    change = Change(set={"run": run}, increase={"count": 1})
    updates = [Update(f"{run}up{number}", change) for number in (1, 2)]
    for _ in range(2):
        await store.upsert(COLLECTION, updates)
    rows = await store.get(COLLECTION, [update.id for update in updates])
    return [row["count"] for row in rows.values()] == [2, 2]


async def _try_take(store: Documents, run: str) -> bool:
    rows = [_make(run, f"take{rank}", rank=rank, free=1, payload=b"x") for rank in (2, 1)]
    await store.insert(COLLECTION, rows)
    where, change = {"run": run, "free": 1}, Change(set={"free": 0})
    taken = [await store.take(COLLECTION, where, change, sort="rank") for _ in range(3)]
    ranks = [row and (row["rank"], row["free"], "payload" in row) for row in taken]
    return ranks == [(1, 0, False), (2, 0, False), None]


async def _try_projection(store: Documents, run: str) -> bool:
    await store.insert(COLLECTION, [_make(run, "bytes", payload=b"\x00\xff")])
    where = {"_id": f"{run}bytes"}
    (without,) = await store.find(COLLECTION, where)
    (within,) = await store.find(COLLECTION, where, with_payload=True)
    return "payload" not in without and within["payload"] == b"\x00\xff"


async def _try_nested_lists(store: Documents, run: str) -> bool:
    await store.insert(COLLECTION, [_make(run, "new", nested=NESTED), _make(run, "changed")])
    update = Update(f"{run}changed", Change(set={"nested": NESTED}))
    await store.update(COLLECTION, [update])
    upserted = Update(f"{run}upserted", Change(set={"run": run, "nested": NESTED}))
    await store.upsert(COLLECTION, [upserted])
    ids = [f"{run}{name}" for name in ("new", "changed", "upserted")]
    rows = await store.get(COLLECTION, ids)
    return [rows[id_]["nested"] for id_ in ids] == [NESTED] * 3


async def _try_updates_at_once(store: Documents, run: str) -> bool:
    """Check that of callers at once one gets a document, and that every count counts."""
    for number in range(CONTESTS):
        id_ = f"{run}once{number}"
        await store.insert(COLLECTION, [{"_id": id_, "run": run, "owner": 0, "count": 0}])
        claims = [Update(id_, Change(set={"owner": it}), {"owner": 0}) for it in CALLERS]
        won = await asyncio.gather(*(store.update(COLLECTION, [claim]) for claim in claims))
        increase = Update(id_, Change(increase={"count": 1}))
        await asyncio.gather(*(store.update(COLLECTION, [increase]) for _ in CALLERS))
        count = (await store.get(COLLECTION, [id_]))[id_]["count"]
        if won.count([True]) != 1 or count != len(CALLERS):
            return False
    return True


async def _try_takes_at_once(store: Documents, run: str) -> bool:
    await store.insert(COLLECTION, [_make(run, f"turn{it}", turn=it, open=1) for it in CALLERS])
    where, change = {"run": run, "open": 1}, Change(set={"open": 0})
    takes = [store.take(COLLECTION, where, change, sort="turn") for _ in CALLERS]
    taken = await asyncio.gather(*takes)
    return len({row["_id"] for row in taken if row}) == len(CALLERS)


async def _try_counts(store: Documents, run: str) -> bool:
    rows = [_make(run, f"kind{number}", kind="ab"[number % 2]) for number in range(3)]
    await store.insert(COLLECTION, rows)
    where = {"run": run, "kind": {"$in": ["a", "b"]}}
    by_kind = await store.count_by(COLLECTION, "kind", where)
    return by_kind == {"a": 2, "b": 1} and await store.count(COLLECTION, where) == 3  # noqa: PLR2004 - those above


def _make(run: str, name: str, **fields: Any) -> Document:
    return {"_id": f"{run}{name}", "run": run, **fields}


OPERATIONS: Final[dict[str, Try]] = {
    "unique ids": _try_unique_ids,
    "conditional updates": _try_conditional_update,
    "upserts": _try_upsert,
    "findAndModify with a projection": _try_take,
    "projections": _try_projection,
    "nested lists": _try_nested_lists,
    "counts by group": _try_counts,
    "updates of one document at once": _try_updates_at_once,
    "findAndModify at once": _try_takes_at_once,
}
