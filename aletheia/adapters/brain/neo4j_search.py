"""Near items in Neo4j: all compared in memory, or candidates of the vector index.

The index ranks the items of all projects before it can be asked for those of one. Searches of a
project of up to `EXACT_UP_TO` items compare them all: their vectors are in memory, which takes in
what was written since (`Project.revision`) and is made anew after something was deleted
(`Project.epoch`, which begins anywhere, so that no project is taken for one that was there before).
Above that the index names candidates, which are measured here, while the vectors are read beside;
once they are in memory, all are compared there, too.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import neo4j
import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.brain.matrices import Near, ProjectVectors, VectorsInMemory
from aletheia.adapters.brain.neo4j_connection import read_cypher, to_literal
from aletheia.adapters.brain.neo4j_server import Neo4jServer, Rows
from aletheia.brain.access import BRAIN
from aletheia.brain.forms import SCORE_DIGITS, check_length, measure_cosines, rank_duplicates
from aletheia.brain.graph import EXACT_UP_TO, NEIGHBOURS
from aletheia.brain.ports import MAX_DUPLICATES, Duplicate
from aletheia.errors import AletheiaError, Refused, Unavailable
from aletheia.vectors import measure_bytes

log = logging.getLogger(__name__)

WRITTEN_AT_ONCE: Final = 500
"""Items in a statement (SPEC §4, Brain)."""

READ_TIMEOUT_S: Final = 300.0
"""Bound on reading the vectors of a large project; 100,000 of 384 numbers take 6 s."""

MAX_BYTES: Final = 2**30
"""Of all vectors in memory: 550,000 of 384 numbers, and a margin."""

_ONLINE: Final = "ONLINE"

_CLOSE_TIMEOUT_S: Final = 5.0
"""How long reading may take to notice that the graph is being closed."""

_REST_SHARE: Final = 4
"""Reading is followed by a rest that takes so many times as long: projects that do not fit into
memory together, or lose items all the time, must not keep a process busy with reading."""

_LINKED_BY_INDEX: Final = 50
"""Neighbours of so many items are found in one query of the index; for more of them at once it is
faster to read all vectors."""

_WRITES_UNCOUNTED: Final = EXACT_UP_TO // WRITTEN_AT_ONCE
"""After so many writes at most, no more than `EXACT_UP_TO` items can be new."""

_READ_AT_ONCE: Final = 500
_MIN_CANDIDATES: Final = 100
"""With fewer the index passes over too many of the ten nearest."""

_WIDENED: Final = 4
_MEASURED: Final = 2
"""Times as many candidates as hits are asked for are measured in float64."""

_SCORE_SLACK: Final = 1e-5
"""What the index's float32 arithmetic may take from a cosine."""


_Row: TypeAlias = tuple[str, list[float]]
"""Id and vector of an item."""


@dataclass(frozen=True, slots=True)
class State:
    """A project as the server has it."""

    project_id: str
    model: str  # whose vectors are kept, of so many `dimensions`
    dimensions: int
    revision: int  # grows with every write
    epoch: int  # grows when something is deleted
    items: int  # how many it has

    @property
    def kind(self) -> tuple[str, int, int]:
        """What vectors in memory have to be of, to be brought up to date."""
        return self.model, self.dimensions, self.epoch

    @property
    def bytes(self) -> int:
        """How large its vectors are in memory at first."""
        return measure_bytes(self.items, self.dimensions)

    def make_vectors(self) -> ProjectVectors[str]:
        """Return vectors in memory with none of it yet."""
        return ProjectVectors(self.kind, self.dimensions, self.items)


class Neo4jSearch:
    """Finds items by their vectors.

    Attributes:
        exact_up_to: items of a project up to which all are compared, whatever reading them takes.
        memory: vectors, up to `MAX_BYTES`; the project that was searched longest ago goes first,
            and a larger one is searched by the index alone.
    """

    def __init__(self, server: Neo4jServer) -> None:
        self._server, self.exact_up_to = server, EXACT_UP_TO
        self.memory = VectorsInMemory[str](MAX_BYTES)
        self._reading: asyncio.Task[None] | None = None
        self._reads_again_at, self._is_closing = 0.0, False
        self._searching = asyncio.Lock()

    async def close(self) -> None:
        """See `BrainGraph.close`."""
        if (reading := self._reading) is not None:
            # The driver leaves a socket behind where it is cancelled while it connects.
            self._is_closing = True
            _, slow = await asyncio.wait({reading}, timeout=_CLOSE_TIMEOUT_S)
            if slow:
                reading.cancel()
                await asyncio.wait(slow)
            self._is_closing = False
        self.memory.clear()
        await self._server.close()

    async def search(
        self, project_id: str, vector: NDArray[np.float32], *, threshold: float, limit: int
    ) -> list[Duplicate]:
        """See `BrainGraph.search`.

        Raises:
            InvalidTask: `wrong_dimensions`.
        """
        state = await self.read_state(project_id)
        if state is None:
            return []
        check_length(vector, state.dimensions)
        if not await self._is_at_hand(state):
            near = await self._search_index(state, vector, threshold, limit)
            if near is not None:
                self._read_beside(state)
                return near
        async with self._comparing(state) as vectors:
            check_length(vector, vectors.dimensions)
            (hits,) = await asyncio.to_thread(
                vectors.find_near, vector[np.newaxis], threshold, limit
            )
        ids = Rows(hit.id for hit in hits)
        rows = await self._server.read("read_contents", project_id=project_id, ids=ids)
        texts: dict[str, str] = {row["id"]: row["content"] for row in rows}
        return [Duplicate(hit.id, hit.score, texts[hit.id]) for hit in hits if hit.id in texts]

    async def find_neighbours(
        self, state: State, ids: Sequence[str], threshold: float
    ) -> dict[str, list[Near[str]]]:
        """Find what is near to some of a project's items, by their ids."""
        is_at_hand = await self._is_at_hand(state)
        if not is_at_hand and len(ids) > _LINKED_BY_INDEX:
            reading = self._read_beside(state)
            if reading is not None:
                await asyncio.wait({reading})
                is_at_hand = await self._is_at_hand(state)
        if is_at_hand or not await self._is_index_ready():
            async with self._comparing(state) as vectors:
                return await asyncio.to_thread(vectors.find_neighbours, ids, threshold)
        near: dict[str, list[Near[str]]] = {}
        for start in range(0, len(ids), _LINKED_BY_INDEX):
            rows = await self._server.read(
                "find_neighbours",
                project_id=state.project_id,
                model=state.model,
                ids=ids[start : start + _LINKED_BY_INDEX],
                max_found=max(_MIN_CANDIDATES, _WIDENED * NEIGHBOURS),
                min_cosine=threshold - _SCORE_SLACK,
                limit=NEIGHBOURS,
            )
            for row in rows:
                near[row["id"]] = [
                    Near(round(hit["cosine"], SCORE_DIGITS), hit["id"], hit["id"])
                    for hit in row["near"]
                ]
        return near

    async def read_state(self, project_id: str) -> State | None:
        """Return a project as the server has it; `None` before its first item."""
        rows = await self._server.read("read_state", project_id=project_id)
        return State(project_id, **rows[0]) if rows else None

    async def _is_at_hand(self, state: State) -> bool:
        """Check whether few enough vectors have to be read before all of a project are there."""
        if state.items <= self.exact_up_to:
            return True
        vectors = self.memory.get(state.project_id)
        if vectors is None or vectors.kind != state.kind:
            return False
        if abs(state.revision - vectors.revision) <= _WRITES_UNCOUNTED:
            return True
        if state.revision < vectors.revision:
            return False
        (newer,) = await self._server.read(
            "count_newer", project_id=state.project_id, revision=vectors.revision
        )
        return newer["items"] <= self.exact_up_to

    def _read_beside(self, state: State) -> asyncio.Task[None] | None:
        """Start to read a project's vectors while the index is searched; return what reads them.

        That may be another project's; `None` where memory does not suffice, or reading has to rest.
        """
        if self._reading is not None:
            return self._reading
        now = asyncio.get_running_loop().time()
        if state.bytes > self.memory.max_bytes or now < self._reads_again_at:
            return None
        self._reading = asyncio.create_task(self._read_all(state))
        return self._reading

    async def _read_all(self, state: State) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            if self._is_closing:
                return
            self.memory.free_memory(state.bytes)
            vectors = state.make_vectors()
            await self._read_vectors(vectors, state, READ_TIMEOUT_S)
            async with self._searching:
                self.memory.keep(state.project_id, vectors)
        except AletheiaError as error:
            level = logging.DEBUG if self._is_closing else logging.WARNING
            log.log(level, "the vectors of %s are not in memory: %s", state.project_id, error)
        finally:
            now = loop.time()
            self._reads_again_at = now + _REST_SHARE * (now - began)
            self._reading = None

    @asynccontextmanager
    async def _comparing(self, state: State) -> AsyncGenerator[ProjectVectors[str]]:
        """Lend a project's vectors, brought up to a state, to nobody else meanwhile."""
        async with self._server.bounded(), self._searching:
            vectors = self.memory.get(state.project_id)
            if vectors is not None and not _can_bring_up(vectors, state):
                # A later caller was faster: what it brought up is not made anew.
                state = await self.read_state(state.project_id) or state
            if vectors is None or not _can_bring_up(vectors, state):
                self.memory.pop(state.project_id, None)
                self.memory.free_memory(state.bytes)
                vectors = state.make_vectors()
            if vectors.revision < state.revision:
                await self._read_vectors(vectors, state, self._server.timeout_s)
            self.memory.keep(state.project_id, vectors)
            yield vectors

    async def _read_vectors(
        self, vectors: ProjectVectors[str], state: State, timeout_s: float
    ) -> None:
        """Apply what was written to a project since their revision to its vectors."""
        given = {
            "project_id": state.project_id,
            "revision": vectors.revision,
            "model": state.model,
        }

        async def read(transaction: neo4j.AsyncManagedTransaction) -> None:
            result = await transaction.run(to_literal(read_cypher("read_vectors")), given)
            rows: list[_Row] = []
            async for record in result:
                if self._is_closing:
                    raise Unavailable(BRAIN, "it is being closed")
                rows.append(cast("_Row", tuple(record)))
                if len(rows) == _READ_AT_ONCE:
                    _put(vectors, rows)
                    rows = []
            _put(vectors, rows)

        async with self._server.connected(timeout_s) as connection, connection.session() as session:
            await session.execute_read(read)
        vectors.revision = state.revision

    async def _search_index(
        self, state: State, vector: NDArray[np.float32], threshold: float, limit: int
    ) -> list[Duplicate] | None:
        """Find candidates by the index, and measure them; `None` while it is not ready.

        Candidates become more until the last one is below the threshold, or enough of them are
        the project's, or there are `MAX_DUPLICATES` (SPEC §4).
        """
        candidates = min(MAX_DUPLICATES, max(_MIN_CANDIDATES, _WIDENED * limit))
        query = Rows(vector.tolist())
        min_score = (1 + threshold) / 2 - _SCORE_SLACK
        while True:
            try:
                hits = await self._server.read(
                    "search",
                    project_id=state.project_id,
                    model=state.model,
                    max_found=candidates,
                    vector=query,
                )
            except Refused:
                if await self._is_index_ready():
                    raise
                return None
            chosen = [row["id"] for row in hits if row["is_ours"] and row["score"] >= min_score]
            is_below = len(hits) < candidates or hits[-1]["score"] < min_score
            if is_below or len(chosen) >= _WIDENED * limit or candidates == MAX_DUPLICATES:
                break
            candidates = min(MAX_DUPLICATES, _WIDENED * candidates)
        # Hits come in falling order, by cosines that float32 has rounded.
        best = Rows(chosen[: _MEASURED * limit])
        rows = await self._server.read(
            "read_chosen", project_id=state.project_id, model=state.model, ids=best
        )
        if not rows:
            return []
        kept = np.array([row["vector"] for row in rows], np.float32)
        scores: list[float] = measure_cosines(kept, vector).tolist()
        found = [
            Duplicate(row["id"], score, row["content"])
            for row, score in zip(rows, scores, strict=True)
        ]
        return rank_duplicates(found, threshold=threshold, limit=limit)

    async def _is_index_ready(self) -> bool:
        async with self._server.connected() as connection:
            return await connection.read_index_state() == _ONLINE


def _can_bring_up(vectors: ProjectVectors[str], state: State) -> bool:
    return vectors.kind == state.kind and vectors.revision <= state.revision


def _put(vectors: ProjectVectors[str], rows: Sequence[_Row]) -> None:
    """Copy vectors into memory; those of another length are passed over."""
    sound = [row for row in rows if len(row[1]) == vectors.dimensions]
    if sound:
        ids, numbers = zip(*sound, strict=True)
        vectors.put(ids, ids, np.array(numbers, np.float32))
