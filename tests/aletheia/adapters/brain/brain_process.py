"""A process of its own with an embedded Brain: `brain_process.py DIRECTORY NAME COUNT`.

Writes batches of five items of its own and one that all such processes write, and prints a line
for each that is done.
"""

import asyncio
import sys
from pathlib import Path

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.brain.index import IndexedBrain
from tests.fakes.brain import DIMENSIONS, LEGAL, MODEL, PROJECT, FakeEmbed, item_of


async def main(directory: str, name: str, count: str) -> None:
    graph = EmbeddedGraph(Path(directory))
    await graph.open()
    brain = IndexedBrain(graph, FakeEmbed(), MODEL, DIMENSIONS)
    for number in range(int(count)):
        items = [item_of(f"{name}-{number}-{part}") for part in range(5)]
        done = await brain.upsert(PROJECT, LEGAL, [*items, item_of("everybody's")])
        assert done.created >= 5
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    await graph.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
