"""How fast the Brain takes items in and finds them again, in Neo4j and in the embedded backend.

    python -m bench.brain [--quick]

Starts a Neo4j of its own (`make services` installs it), with room in memory for all it keeps.
10,000 distinct texts of Python's documentation are embedded with the local model; 90,000 more
vectors lie around theirs. 10,000 items are upserted with constraints and index on, until the index
is online, thrice; then one statement an item. Searches are those of held-out texts, with the ten
nearest of each compared with brute force. Up to 20,000 items a project is compared in full. Above
that the index is asked until the vectors have been read into memory, and all are compared from then
on: `p50_ms_neo4j` is of searches with all vectors in memory, `p50_ms_neo4j_by_index` of those by
the index alone; `growth` is a figure at 100,000 items over the same at 10,000.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.brain.neo4j import Neo4jGraph
from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.analysis.ports import Embedding
from aletheia.brain.graph import BrainGraph, GraphItem
from aletheia.brain.ports import BrainDepartment
from aletheia.settings import EmbeddingSettings
from bench.corpora import make_texts
from bench.figures import console, describe_machine, find_missed, print_json
from tests.services.neo4j_server import Neo4jAddress, running_neo4j

MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSIONS: Final = 384
WORDS: Final = 8
"""Of a text; of longer ones the standard library has too few."""

SMALL: Final = 10_000
LARGE: Final = 100_000
QUERIES: Final = 200
NEAREST: Final = 10
ONE_BY_ONE: Final = 200
WARM_UP_S: Final = 10
"""Of searches before those that count; what was just read into memory is slower at first."""

ROUNDS: Final = 3
AT_ONCE: Final = 500
SIMILAR_FROM: Final = 0.5
"""Raw cosine from which edges are drawn."""

DEPARTMENT: Final = BrainDepartment("bench", "Bench", 1)

BOUNDS: Final[dict[str, tuple[str, float]]] = {
    "seconds_neo4j": ("max", 5),
    "vs_one_by_one": ("min", 10),
    "p50_ms_neo4j": ("max", 15),
    "p50_ms_embedded": ("max", 30),
    "recall_at_10": ("min", 0.99),
}

Vectors = NDArray[np.float32]


async def embed(texts: Sequence[str]) -> Vectors:
    """Embed texts with the local model, `(n, d)` of unit length."""
    embedder = LocalEmbedder(EmbeddingSettings(default_embedding_model=MODEL))
    found: dict[int, Vectors] = {}
    await embedder.open()
    try:
        async for group in embedder.embed(MODEL, list(texts)):
            for answer in group:
                if not isinstance(answer.result, Embedding):
                    raise answer.result
                found[answer.index] = answer.result.vector
    finally:
        await embedder.close()
    return _unit(np.stack([found[at] for at in range(len(texts))]))


def enlarge(vectors: Vectors, n: int, *, seed: int = 7) -> Vectors:
    """Make further vectors around given ones, each at a cosine of 0.7 to 0.95 to one of them."""
    random = np.random.default_rng(seed)
    centres = vectors[random.integers(0, len(vectors), n - len(vectors))]
    noise = _unit(random.standard_normal(centres.shape, np.float32))
    cosines = random.uniform(0.7, 0.95, (len(centres), 1)).astype(np.float32)
    around = _unit(cosines * centres + np.sqrt(1 - cosines**2) * noise)
    return np.concatenate([vectors, around])


def _unit(vectors: NDArray[Any]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_items(texts: Sequence[str], vectors: Vectors) -> list[GraphItem]:
    """Make an item of each vector, with the texts over and over."""
    return [
        GraphItem(f"item-{at:06}", texts[at % len(texts)], "", "", vector, f"{at:032x}", order=at)
        for at, vector in enumerate(vectors)
    ]


async def upsert(graph: BrainGraph, project: str, items: Sequence[GraphItem]) -> float:
    """Upsert items in batches, and say how long it took until they could be found, seconds."""
    began = time.perf_counter()
    for start in range(0, len(items), AT_ONCE):
        await graph.upsert(project, DEPARTMENT, items[start : start + AT_ONCE])
    await graph.set_model(MODEL, DIMENSIONS)  # returns when the index is online
    return time.perf_counter() - began


async def upsert_one_by_one(graph: BrainGraph, items: Sequence[GraphItem]) -> float:
    """Upsert items with a statement each; seconds for one."""
    began = time.perf_counter()
    for item in items:
        await graph.upsert("one-by-one", DEPARTMENT, [item])
    return (time.perf_counter() - began) / len(items)


async def link(graph: BrainGraph, project: str, items: Sequence[GraphItem]) -> float:
    """Draw the edges of items, as the outbox worker does; edges a second."""
    began, edges = time.perf_counter(), 0
    for start in range(0, len(items), AT_ONCE):
        ids = [item.id for item in items[start : start + AT_ONCE]]
        edges += await graph.link(project, ids, threshold=SIMILAR_FROM)
    return edges / (time.perf_counter() - began)


async def search(graph: BrainGraph, project: str, queries: Vectors) -> tuple[float, list[set[str]]]:
    """Search for the nearest of each query: median in ms, and what was found."""
    began = time.perf_counter()
    while time.perf_counter() - began < WARM_UP_S:
        for query in queries[:10]:
            await graph.search(project, query, threshold=-1.0, limit=NEAREST)
    seconds: list[float] = []
    found: list[set[str]] = []
    for query in queries:
        began = time.perf_counter()
        near = await graph.search(project, query, threshold=-1.0, limit=NEAREST)
        seconds.append(time.perf_counter() - began)
        found.append({match.id for match in near})
    return 1000 * median(seconds), found


async def hold(graph: Neo4jGraph, project: str, query: NDArray[np.float32]) -> float:
    """Search a large project until its vectors are in memory; how long that took, seconds."""
    began = time.perf_counter()
    while project not in graph.memory:
        await graph.search(project, query, threshold=-1.0, limit=NEAREST)
    return time.perf_counter() - began


def measure_recall(found: Sequence[set[str]], vectors: Vectors, queries: Vectors) -> float:
    """Return which share of the truly nearest was found, by brute force in float64."""
    rows = vectors.astype(np.float64)
    hits = 0
    for near, query in zip(found, queries.astype(np.float64), strict=True):
        nearest: list[int] = np.argsort(-(rows @ query))[:NEAREST].tolist()
        hits += len(near & {f"item-{at:06}" for at in nearest})
    return hits / (NEAREST * len(queries))


async def bench_neo4j(
    address: Neo4jAddress, texts: Sequence[str], vectors: Vectors, queries: Vectors
) -> dict[str, Any]:
    """Measure Neo4j."""
    graph = Neo4jGraph(address.uri, address.username, address.password)
    by_index = Neo4jGraph(address.uri, address.username, address.password)
    by_index.exact_up_to = by_index.memory.max_bytes = 0
    large = Neo4jGraph(address.uri, address.username, address.password)
    items = make_items(texts, vectors)
    few = items[:SMALL]
    try:
        await graph.open()
        await graph.set_model(MODEL, DIMENSIONS)
        rounds: list[float] = []
        for n in range(ROUNDS + 1):  # the first one warms Java up
            rounds.append(await upsert(graph, f"round-{n}", few))
            await graph.delete(f"round-{n}", [item.id for item in few])
        one_s = await upsert_one_by_one(graph, items[:ONE_BY_ONE])
        await graph.delete("one-by-one", [item.id for item in items[:ONE_BY_ONE]])
        await upsert(graph, "bench", few)
        edges_per_s = await link(graph, "bench", few)
        small_ms, found = await search(graph, "bench", queries)
        small_recall = measure_recall(found, vectors[:SMALL], queries)
        small_index_ms, found = await search(by_index, "bench", queries)
        small_index_recall = measure_recall(found, vectors[:SMALL], queries)
        await upsert(graph, "bench", items[SMALL:])
        index_ms, found = await search(by_index, "bench", queries)
        index_recall = measure_recall(found, vectors, queries)
        held_s = await hold(large, "bench", queries[0])
        large_ms, found = await search(large, "bench", queries)
        large_recall = measure_recall(found, vectors, queries)
    finally:
        for brain in (by_index, large, graph):
            await brain.close()
    seconds = median(rounds[1:])
    return {
        "seconds_neo4j": seconds,
        "rounds_neo4j": [round(took_s, 2) for took_s in rounds],
        "vs_one_by_one": one_s * SMALL / seconds,
        "ms_one_by_one": 1000 * one_s,
        "edges_per_s": edges_per_s,
        "growth": large_ms / small_ms,
        "p50_ms_neo4j_small": small_ms,
        "p50_ms_neo4j": large_ms,
        "seconds_until_in_memory": held_s,
        "growth_by_index": index_ms / small_index_ms,
        "p50_ms_neo4j_small_by_index": small_index_ms,
        "p50_ms_neo4j_by_index": index_ms,
        "recall_at_10": min(small_recall, small_index_recall, index_recall, large_recall),
        "recall_at_10_small": small_recall,
        "recall_at_10_large": large_recall,
        "recall_at_10_small_by_index": small_index_recall,
        "recall_at_10_by_index": index_recall,
    }


async def bench_embedded(
    texts: Sequence[str], vectors: Vectors, queries: Vectors
) -> dict[str, Any]:
    """Measure the embedded backend."""
    items = make_items(texts, vectors)
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        graph = EmbeddedGraph(Path(home))
        await graph.open()
        try:
            await graph.set_model(MODEL, DIMENSIONS)
            seconds = await upsert(graph, "bench", items[:SMALL])
            small_ms, _ = await search(graph, "bench", queries)
            await upsert(graph, "bench", items[SMALL:])
            large_ms, found = await search(graph, "bench", queries)
        finally:
            await graph.close()
    return {
        "seconds_embedded": seconds,
        "growth_embedded": large_ms / small_ms,
        "p50_ms_embedded_small": small_ms,
        "p50_ms_embedded": large_ms,
        "recall_at_10_embedded": measure_recall(found, vectors, queries),
    }


async def main(*, is_quick: bool) -> None:
    """Measure everything and print the figures."""
    large = 25_000 if is_quick else LARGE
    texts = make_texts(SMALL + QUERIES, WORDS)
    embedded = await embed(texts)
    queries = embedded[SMALL:]
    vectors = enlarge(embedded[:SMALL], large)
    with running_neo4j(heap="2g", page_cache="1g", is_short_lived=False) as server:
        figures = await bench_neo4j(server.address, texts[:SMALL], vectors, queries)
    figures |= await bench_embedded(texts[:SMALL], vectors, queries)
    figures = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in figures.items()
    }
    figures |= {"items": SMALL, "items_large": large, "neo4j": version("neo4j")}
    figures["missed"] = find_missed(figures, BOUNDS)
    _print_table(figures)
    print_json(figures | describe_machine())


def _print_table(figures: dict[str, Any]) -> None:
    table = Table(title=f"{SMALL:,} items, then {figures['items_large']:,}", title_justify="left")
    for title in ("", "is", "must"):
        table.add_column(title, justify="left" if not title else "right")
    for name, value in figures.items():
        if isinstance(value, float):
            side, bound = BOUNDS.get(name, ("", 0))
            wanted = f"{'≤' if side == 'max' else '≥'} {bound:g}" if side else ""
            table.add_row(name, f"{value:,.3f}", wanted)
    console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="25,000 items at most")
    asyncio.run(main(is_quick=parser.parse_args().quick))
