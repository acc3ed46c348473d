"""A process of its own with an embedded store, for tests: `store_process.py DIRECTORY WHAT`.

`take NAME` says that it is ready, waits for a line and then takes every free document; `write`
inserts and changes until it is killed. Each prints a line for what the store said is done.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Change, Update

PAYLOAD = b"p" * 5000


async def take(store: EmbeddedDocuments, name: str) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    change = Change(set={"owner": name, "state": "held"})
    while document := await store.take("things", {"state": "free"}, change, sort="rank"):
        sys.stdout.write(f"{document['_id']}\n")
        sys.stdout.flush()


async def write(store: EmbeddedDocuments) -> None:
    for number in count():
        ids = [f"{number}-{part}" for part in range(5)]
        await store.insert("things", [{"_id": id_, "n": 0} for id_ in ids])
        change = Change(set={"payload": PAYLOAD}, increase={"n": 1})
        assert all(await store.update("things", [Update(id_, change) for id_ in ids]))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


async def main(directory: str, what: str, *arguments: str) -> None:
    store = EmbeddedDocuments(Path(directory))
    await store.open()
    await {"take": take, "write": write}[what](store, *arguments)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
