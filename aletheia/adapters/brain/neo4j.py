"""The Brain in Neo4j, 5.23 or later, community edition included.

    (:Project)-[:HAS]->(:Department)-[:HAS]->(:Item)-[:SIMILAR {cosine}]->(:Item)
                       (:Department)-[:EVALUATED_AS]->(:Evaluation)
    (:BrainModel)      which embedding model the vectors are of

What is sent to the server stands in `cypher/`; labels and names of relationships are fixed, and
all that comes from outside is a parameter. An item carries the name of the model its vector is of,
so that a writer that has not heard of another model adds nothing that searches compare.

A vector index ranks the items of all projects before it can be asked for those of one. Searches of
a project of up to `EXACT_UP_TO` items compare them all: their vectors are in a matrix in memory,
which takes in what was written since (`Project.revision`) and is made anew after something was
deleted (`Project.epoch`, which begins anywhere, so that no project is taken for one that was there
before). Above that the index names candidates, which are measured here, while
the vectors are read beside; once they are in memory, all are compared there, too.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString, cast

import neo4j
import numpy as np
import orjson
from neo4j.exceptions import (
    AuthError,
    ClientError,
    ConfigurationError,
    DriverError,
    Neo4jError,
    ServiceUnavailable,
)
from numpy.typing import NDArray

from aletheia.adapters.brain.nearest import find_near
from aletheia.brain.index import SCORE_DIGITS, measure_cosines, rank_duplicates
from aletheia.brain.ports import (
    EXACT_UP_TO,
    MAX_DUPLICATES,
    NEIGHBOURS,
    BrainDepartment,
    Duplicate,
    GraphItem,
    IndexedItem,
    KnownItem,
    ModelChanged,
)
from aletheia.errors import (
    AletheiaError,
    BadAnswer,
    InvalidTask,
    Misconfigured,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)

log = logging.getLogger(__name__)

BRAIN: Final = "brain"
"""What errors call it."""

ADDRESS: Final = "NEO4J_URI"
"""The setting that errors point to."""

WRITTEN_AT_ONCE: Final = 500
"""Items in a statement (SPEC §4, Brain)."""

CONNECTIONS: Final = 8
"""Open at once; a further call waits for one."""

REBUILD_TIMEOUT_S: Final = 600.0
"""Bound on making index and vectors ready for another embedding model."""

_SCHEMES: Final = tuple(
    f"{scheme}{security}://" for scheme in ("bolt", "neo4j") for security in ("", "+s", "+ssc")
)
_ONLINE: Final = "ONLINE"
_INDEX: Final = "aletheia_item_vector"
_FIRST_CANDIDATES: Final = 100
"""Least number of candidates: with fewer the index passes over too many of the ten nearest."""

_WIDENED: Final = 4
_MEASURED: Final = 2
"""Times as many candidates as hits are asked for are measured in float64."""

_NEIGHBOUR_CANDIDATES: Final = 100
_SCORE_SLACK: Final = 1e-5
"""What the index's float32 arithmetic may take from a cosine."""

MAX_BYTES: Final = 2**30
"""Of all vectors in memory: 550,000 of 384 numbers, with room for some more."""

READ_TIMEOUT_S: Final = 300.0
"""Bound on reading the vectors of a large project; 100,000 of 384 numbers take 6 s."""

_CLOSE_TIMEOUT_S: Final = 5.0
"""How long what reads them may take to notice that it is over."""

_REST_SHARE: Final = 4
"""Reading is followed by a rest that takes so many times as long: projects that do not fit into
memory together, or lose items all the time, must not have a process do nothing else."""

_LINKED_BY_INDEX: Final = 50
"""Neighbours of so many items are found in one query of the index; for more of them at once it is
faster to read all vectors."""

_MIN_ROOM: Final = 1024
_ROOM_SHARE: Final = 4
"""Of the rows of a matrix, one in so many is for items to come."""

_WRITES_UNCOUNTED: Final = EXACT_UP_TO // WRITTEN_AT_ONCE
"""After so many writes at most, no more than `EXACT_UP_TO` items can be new."""

_READ_ONLY: Final = frozenset(
    {
        "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase",
        "Neo.ClientError.General.WriteOnReadOnlyAccessDatabase",
    }
)
_LOCKED_OUT: Final = "Neo.ClientError.Security.AuthenticationRateLimit"
_SECURITY: Final = "Neo.ClientError.Security."
_IS_THERE: Final = "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists"
_REFUSED: Final = 409
"""What a refused statement counts as: all of them are ours, and items were checked before, so that
the state of the server is at fault, never an item."""

_NO_DATABASE: Final = "Neo.ClientError.Database.DatabaseNotFound"


class Neo4jGraph:
    """A `BrainGraph` in a database of a Neo4j server.

    It may be called before the server is there: every call connects if none has so far.

    Args:
        uri: `bolt://`, `neo4j://` and the like, without credentials.
        username: to sign in with.
        password: of that user.
        database: its name.
        timeout_s: bound on a call, its retries included, seconds.
        connect_timeout_s: bound on connecting, seconds.
        retry_s: for how long what fails for the moment (a deadlock, a lost connection) is tried
            again, seconds.
        exact_up_to: items of a project up to which all are compared, whatever reading them takes.
        max_bytes: of the vectors in memory; the project that was searched longest ago goes first,
            and a larger one is searched by the index alone.
    """

    def __init__(
        self,
        uri: str,
        username: str,
        password: str,
        *,
        database: str = "neo4j",
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        retry_s: float = 5.0,
        exact_up_to: int = EXACT_UP_TO,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._uri, self._auth, self._database = uri, (username, password), database
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._retry_s, self._exact_up_to, self._max_bytes = retry_s, exact_up_to, max_bytes
        self._driver: neo4j.AsyncDriver | None = None
        self._opening = asyncio.Lock()
        self._model: tuple[str, int] | None = None
        self._matrices = OrderedDict[str, _Matrix]()
        self._reading: asyncio.Task[None] | None = None
        self._reads_again_at, self._is_closing = 0.0, False
        self._searching = asyncio.Lock()

    async def open(self) -> None:
        """Connect, and create constraints and indexes. Idempotent.

        Raises:
            Misconfigured: the address or the database cannot be right.
            Unauthorized: the server refuses the credentials.
            Unavailable: it is out of reach, or does not take it for now.
        """
        async with self._opening:
            if self._driver is not None:
                return
            driver = self._make_driver()
            try:
                async with self._translating(self._timeout_s):
                    await driver.verify_connectivity()  # pyright: ignore[reportUnknownMemberType]
                    await self._prepare(driver)
            except BaseException:
                await driver.close()
                raise
            self._driver = driver

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
        driver, self._driver = self._driver, None
        self._matrices.clear()
        if driver is not None:
            await driver.close()

    async def read_model(self) -> tuple[str, int] | None:
        """See `BrainGraph.read_model`."""
        driver = await self._connected()
        async with self._translating(self._timeout_s):
            self._model, _ = await self._read_kept(driver)
        return self._model

    async def set_model(self, model: str, dimensions: int) -> None:
        """See `BrainGraph.set_model`.

        A call that was cut short is finished by the next one.
        """
        driver = await self._connected()
        async with self._translating(REBUILD_TIMEOUT_S):
            kept, is_alone = await self._read_kept(driver)
            if kept is None:
                # It may have been emptied since we connected.
                await self._prepare(driver)
            if kept != (model, dimensions) or not is_alone:
                chosen = {"model": model, "dimensions": dimensions}
                await self._ask(driver, read_cypher("write_model"), chosen | {"is_alone": False})
                await self._ask(driver, read_cypher("drop_index"), {})
                async with self._session(driver) as session:
                    for name in ("forget_edges", "forget_vectors"):
                        result = await session.run(_query(read_cypher(name)), chosen)
                        await result.consume()
                await self._ensure_index(driver, dimensions)
                await self._ask(driver, read_cypher("write_model"), chosen | {"is_alone": True})
            else:
                await self._ensure_index(driver, dimensions)
            self._model = (model, dimensions)

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[GraphItem]
    ) -> tuple[int, int]:
        """See `BrainGraph.upsert`; all items of a statement, or none.

        Raises:
            InvalidTask: `wrong_dimensions`.
            ModelChanged: no embedding model has been set.
        """
        if not items:
            return 0, 0
        model, dimensions = self._model or await self.read_model() or (None, 0)
        if model is None:
            raise ModelChanged("none", "none")
        for one in items:
            _check_length(one.vector, dimensions)
        created = 0
        for start in range(0, len(items), WRITTEN_AT_ONCE):
            rows = _Rows(_row_of(one) for one in items[start : start + WRITTEN_AT_ONCE])
            (answer,) = await self._write(
                "upsert",
                project_id=project_id,
                slug=department.slug,
                name=department.name,
                code_dep_number=department.code_dep_number,
                model=model,
                items=rows,
            )
            created += answer["created"]
        return created, len(items) - created

    async def search(
        self, project_id: str, vector: NDArray[np.float32], *, threshold: float, limit: int
    ) -> list[Duplicate]:
        """See `BrainGraph.search`.

        Raises:
            InvalidTask: `wrong_dimensions`.
        """
        state = await self._read_state(project_id)
        if state is None:
            return []
        _check_length(vector, state.dimensions)
        if not await self._is_at_hand(state):
            near = await self._search_index(state, vector, threshold, limit)
            if near is not None:
                self._read_beside(state)
                return near
        async with self._comparing(state) as matrix:
            _check_length(vector, matrix.dimensions)
            (found,) = await asyncio.to_thread(
                matrix.find_near, vector[np.newaxis], threshold, limit
            )
        contents = await self._read(
            "read_contents", project_id=project_id, ids=_Rows(one.id for one in found)
        )
        texts = {row["id"]: row["content"] for row in contents}
        return [Duplicate(one.id, one.cosine, texts[one.id]) for one in found if one.id in texts]

    async def list_newest(self, project_id: str, department: str, limit: int) -> list[KnownItem]:
        """See `BrainGraph.list_newest`."""
        rows = await self._read("list_newest", project_id=project_id, slug=department, limit=limit)
        return [KnownItem(**row) for row in rows]

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """See `BrainGraph.list_items`."""
        rows = await self._read("list_items", project_id=project_id, after=after, limit=limit)
        return [IndexedItem(**row) for row in rows]

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """See `BrainGraph.delete`."""
        deleted = 0
        known = list(dict.fromkeys(ids))
        for start in range(0, len(known), WRITTEN_AT_ONCE):
            some = known[start : start + WRITTEN_AT_ONCE]
            (answer,) = await self._write("delete", project_id=project_id, ids=some)
            deleted += answer["deleted"]
        return deleted

    async def link(
        self, project_id: str, ids: Sequence[str], *, threshold: float, limit: int = NEIGHBOURS
    ) -> int:
        """See `BrainGraph.link`."""
        state = await self._read_state(project_id)
        if state is None:
            return 0
        edges = 0
        known = list(dict.fromkeys(ids))
        for start in range(0, len(known), WRITTEN_AT_ONCE):
            some = known[start : start + WRITTEN_AT_ONCE]
            near = await self._find_neighbours(state, some, threshold, limit)
            rows = _Rows(
                {"id": one, "near": [{"id": n.id, "cosine": n.cosine} for n in neighbours]}
                for one, neighbours in near.items()
            )
            (answer,) = await self._write("link", project_id=project_id, links=rows)
            edges += answer["edges"]
        return edges

    async def list_neighbours(self, project_id: str, item_id: str) -> list[Duplicate]:
        """See `BrainGraph.list_neighbours`."""
        rows = await self._read("list_neighbours", project_id=project_id, id=item_id)
        return [Duplicate(row["id"], row["cosine"], row["content"]) for row in rows]

    async def keep_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """See `BrainGraph.keep_evaluation`; whoever looks at the graph sees the plain values."""
        shown = {name: one for name, one in values.items() if isinstance(one, str | float | int)}
        ours = {
            "project_id": project_id,
            "department": department,
            "version": version,
            "body": orjson.dumps(dict(values)).decode(),
        }
        await self._write(
            "keep_evaluation",
            project_id=project_id,
            slug=department,
            version=version,
            properties=shown | ours,
        )

    async def read_evaluation(
        self, project_id: str, department: str, version: str
    ) -> dict[str, Any] | None:
        """See `BrainGraph.read_evaluation`."""
        rows = await self._read(
            "read_evaluation", project_id=project_id, slug=department, version=version
        )
        return orjson.loads(rows[0]["body"]) if rows else None

    def holds(self, project_id: str) -> bool:
        """Tell whether a project's vectors are in memory."""
        return project_id in self._matrices

    # Searching

    async def _read_state(self, project_id: str) -> "_State | None":
        rows = await self._read("read_state", project_id=project_id)
        return _State(project_id, **rows[0]) if rows else None

    async def _is_at_hand(self, state: "_State") -> bool:
        """Tell whether few enough vectors have to be read before all of a project's are there."""
        if state.items <= self._exact_up_to:
            return True
        matrix = self._matrices.get(state.project_id)
        if matrix is None or matrix.kind != state.kind:
            return False
        if abs(state.revision - matrix.revision) <= _WRITES_UNCOUNTED:
            return True
        if state.revision < matrix.revision:
            return False
        (newer,) = await self._read(
            "count_newer", project_id=state.project_id, revision=matrix.revision
        )
        return newer["items"] <= self._exact_up_to

    def _read_beside(self, state: "_State") -> "asyncio.Task[None] | None":
        """Have a project's vectors read while the index is searched.

        Returns:
            What reads them, or others just now; `None` where nobody does, as there is no room for
            them, or reading has to rest.
        """
        loop = asyncio.get_running_loop()
        if self._reading is not None:
            return self._reading
        if state.bytes > self._max_bytes or loop.time() < self._reads_again_at:
            return None

        async def read() -> None:
            began = loop.time()
            try:
                if self._is_closing:
                    return
                self._make_room(state.bytes)
                matrix = _Matrix(state)
                await self._read_vectors(matrix, state, READ_TIMEOUT_S)
                async with self._searching:
                    self._keep(state.project_id, matrix)
            except AletheiaError as error:
                level = logging.DEBUG if self._is_closing else logging.WARNING
                log.log(level, "the vectors of %s are not in memory: %s", state.project_id, error)
            finally:
                now = loop.time()
                self._reads_again_at = now + _REST_SHARE * (now - began)
                self._reading = None

        self._reading = asyncio.create_task(read())
        return self._reading

    @asynccontextmanager
    async def _comparing(self, state: "_State") -> AsyncGenerator["_Matrix"]:
        """Give a project's matrix, brought up to a state, to nobody else meanwhile."""
        async with self._translating(self._timeout_s), self._searching:
            yield await self._bring_up(state)

    async def _bring_up(self, state: "_State") -> "_Matrix":
        matrix = self._matrices.get(state.project_id)
        if matrix is not None and (matrix.kind != state.kind or matrix.revision > state.revision):
            # Somebody who looked later was here first: what they brought up is not made anew.
            state = await self._read_state(state.project_id) or state
        if matrix is None or matrix.kind != state.kind or matrix.revision > state.revision:
            self._matrices.pop(state.project_id, None)
            self._make_room(state.bytes)
            matrix = _Matrix(state)
        if matrix.revision < state.revision:
            await self._read_vectors(matrix, state, self._timeout_s)
        self._keep(state.project_id, matrix)
        return matrix

    def _make_room(self, needed: int) -> None:
        """Let go of the matrices searched longest ago, until there is room for another one."""
        while self._matrices and self._bytes() + needed > self._max_bytes:
            self._matrices.popitem(last=False)

    def _keep(self, project_id: str, matrix: "_Matrix") -> None:
        """Keep a matrix as the one searched last; others go if it has grown too large."""
        self._matrices.pop(project_id, None)
        self._make_room(matrix.bytes)
        self._matrices[project_id] = matrix

    def _bytes(self) -> int:
        return sum(matrix.bytes for matrix in self._matrices.values())

    async def _read_vectors(self, matrix: "_Matrix", state: "_State", timeout_s: float) -> None:
        """Put what was written to a project since into its matrix, a row at a time."""
        given = {
            "project_id": state.project_id,
            "revision": matrix.revision,
            "model": state.model,
        }

        async def read(transaction: neo4j.AsyncManagedTransaction) -> None:
            result = await transaction.run(_text(read_cypher("read_vectors")), given)
            async for row in result:
                if self._is_closing:
                    raise Unavailable(BRAIN, "it is being closed")
                item_id, vector = cast("tuple[str, list[float]]", tuple(row))
                if len(vector) == state.dimensions:
                    matrix.put(item_id, vector)

        driver = await self._connected()
        async with self._translating(timeout_s), self._session(driver) as session:
            await session.execute_read(read)
        matrix.revision = state.revision

    async def _search_index(
        self, state: "_State", vector: NDArray[np.float32], threshold: float, limit: int
    ) -> list[Duplicate] | None:
        """Find candidates by the index, and measure them; `None` while it is not ready.

        Candidates become more until the last one is below the threshold, or enough of them are
        the project's, or there are `MAX_DUPLICATES` (SPEC §4).
        """
        most = min(MAX_DUPLICATES, max(_FIRST_CANDIDATES, _WIDENED * limit))
        query = vector.tolist()
        chosen: list[str] = []
        while True:
            try:
                hits = await self._read(
                    "search",
                    project_id=state.project_id,
                    model=state.model,
                    most=most,
                    vector=_Rows(query),
                )
            except Refused:
                if await self._is_index_ready():
                    raise
                return None
            least = (1 + threshold) / 2 - _SCORE_SLACK
            chosen = [row["id"] for row in hits if row["is_ours"] and row["score"] >= least]
            is_below = not hits or hits[-1]["score"] < least
            if is_below or len(hits) < most or len(chosen) >= _WIDENED * limit:
                break
            if most == MAX_DUPLICATES:
                break
            most = min(MAX_DUPLICATES, _WIDENED * most)
        # Hits come in falling order, by cosines that float32 has rounded.
        best = _Rows(chosen[: _MEASURED * limit])
        rows = await self._read(
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

    async def _find_neighbours(
        self, state: "_State", ids: Sequence[str], threshold: float, limit: int
    ) -> "dict[str, list[_Near]]":
        """Find what is near to some of a project's items, by their ids."""
        is_at_hand = await self._is_at_hand(state)
        if not is_at_hand and len(ids) > _LINKED_BY_INDEX:
            reading = self._read_beside(state)
            if reading is not None:
                await asyncio.wait({reading})
                is_at_hand = await self._is_at_hand(state)
        if is_at_hand or not await self._is_index_ready():
            async with self._comparing(state) as matrix:
                return await asyncio.to_thread(matrix.find_neighbours, ids, threshold, limit)
        near: dict[str, list[_Near]] = {}
        for start in range(0, len(ids), _LINKED_BY_INDEX):
            rows = await self._read(
                "find_neighbours",
                project_id=state.project_id,
                model=state.model,
                ids=ids[start : start + _LINKED_BY_INDEX],
                most=max(_NEIGHBOUR_CANDIDATES, _WIDENED * limit),
                least=threshold - _SCORE_SLACK,
                limit=limit,
            )
            near |= {
                row["id"]: [
                    _Near(round(one["cosine"], SCORE_DIGITS), one["id"]) for one in row["near"]
                ]
                for row in rows
            }
        return near

    # Talking to the server

    def _make_driver(self) -> neo4j.AsyncDriver:
        if not self._uri.startswith(_SCHEMES):
            raise Misconfigured(ADDRESS, "must begin with neo4j:// or bolt:// and name a server")
        try:
            return neo4j.AsyncGraphDatabase.driver(  # pyright: ignore[reportUnknownMemberType]
                self._uri,
                auth=self._auth,
                max_connection_pool_size=CONNECTIONS,
                connection_timeout=self._connect_timeout_s,
                connection_acquisition_timeout=self._timeout_s,
                max_transaction_retry_time=self._retry_s,
                notifications_min_severity="OFF",
                warn_notification_severity="OFF",
                telemetry_disabled=True,
                user_agent="aletheia",
            )
        except (ConfigurationError, ValueError):
            # What the driver says repeats the address, and with it the password somebody put there.
            reason = "is no address of a Neo4j; it has a host and a port, and no credentials"
            raise Misconfigured(ADDRESS, reason) from None

    async def _prepare(self, driver: neo4j.AsyncDriver) -> None:
        """Create constraints and indexes."""
        try:
            for statement in read_cypher("schema").split(";"):
                await self._create(driver, statement, {})
            self._model, is_alone = await self._read_kept(driver)
            if self._model is not None and is_alone:
                await self._ensure_index(driver, self._model[1])
        except Neo4jError as error:
            # It can be searched all the same, and writes say for themselves that it is.
            if error.code not in _READ_ONLY:
                raise

    async def _connected(self) -> neo4j.AsyncDriver:
        if self._driver is None:
            # Whoever waits for others that try it, too, waits no longer than they do.
            async with self._translating(self._timeout_s):
                await self.open()
        assert self._driver is not None
        return self._driver

    async def _read(self, file: str, /, **parameters: Any) -> list[dict[str, Any]]:
        driver = await self._connected()
        async with self._translating(self._timeout_s):
            return await self._ask(driver, read_cypher(file), parameters, is_reading=True)

    async def _write(self, file: str, /, **parameters: Any) -> list[dict[str, Any]]:
        driver = await self._connected()
        async with self._translating(self._timeout_s):
            return await self._ask(driver, read_cypher(file), parameters)

    async def _ask(
        self,
        driver: neo4j.AsyncDriver,
        statement: str,
        parameters: Mapping[str, Any],
        *,
        is_reading: bool = False,
    ) -> list[dict[str, Any]]:
        """Run a statement in a transaction of its own; what fails for the moment is retried."""
        answer = await driver.execute_query(
            _text(statement),
            dict(parameters),
            routing_=neo4j.RoutingControl.READ if is_reading else neo4j.RoutingControl.WRITE,
            database_=self._database,
        )
        # Not `Record.data`, which goes through every number of a vector.
        return [dict(cast("Any", row).items()) for row in answer.records]

    async def _create(
        self, driver: neo4j.AsyncDriver, statement: str, parameters: Mapping[str, Any]
    ) -> None:
        """Create a constraint or an index; that another process was just faster is as good."""
        try:
            await self._ask(driver, statement, parameters)
        except ClientError as error:
            if error.code != _IS_THERE:
                raise

    def _session(self, driver: neo4j.AsyncDriver) -> neo4j.AsyncSession:
        return driver.session(  # pyright: ignore[reportUnknownMemberType]
            database=self._database
        )

    async def _read_kept(self, driver: neo4j.AsyncDriver) -> tuple[tuple[str, int] | None, bool]:
        """Read the model, and whether vectors of any other one are gone."""
        rows = await self._ask(driver, read_cypher("read_model"), {}, is_reading=True)
        if not rows:
            return None, False
        return (rows[0]["model"], rows[0]["dimensions"]), rows[0]["is_alone"]

    async def _ensure_index(self, driver: neo4j.AsyncDriver, dimensions: int) -> None:
        """Create the vector index unless it is there. Idempotent."""
        config = {
            "vector.dimensions": dimensions,
            "vector.similarity_function": "cosine",
            # Quantised vectors would be ranked by other cosines than ours.
            "vector.quantization.enabled": False,
        }
        options = {"indexConfig": config}
        await self._create(driver, read_cypher("create_index"), {"options": options})
        while await self._read_index_state(driver) == "POPULATING":  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)

    async def _read_index_state(self, driver: neo4j.AsyncDriver) -> str:
        rows = await self._ask(driver, read_cypher("read_index"), {}, is_reading=True)
        return rows[0]["state"] if rows else ""

    async def _is_index_ready(self) -> bool:
        driver = await self._connected()
        async with self._translating(self._timeout_s):
            return await self._read_index_state(driver) == _ONLINE

    @asynccontextmanager
    async def _translating(self, timeout_s: float) -> AsyncGenerator[None]:
        """Bound what is done, and turn the driver's errors into ours."""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            raise Unavailable(BRAIN, f"no answer within {timeout_s:g} s") from None
        except (Neo4jError, DriverError) as error:
            raise self._translate(error) from None
        except (OSError, ValueError) as error:
            # The driver lets these through where it looks an address up, with every connection.
            raise Unreachable(BRAIN, f"{type(error).__name__}: {error}"[:300]) from None

    def _translate(self, error: Neo4jError | DriverError) -> Exception:  # noqa: PLR0911 - a table
        said = f"{type(error).__name__}: {error}"[:300]
        match error:
            case Neo4jError(code=code) if code == _LOCKED_OUT:
                return Unavailable(BRAIN, "too many sign-ins with wrong credentials, for now")
            case AuthError():
                return Unauthorized(BRAIN, 401, "the server refuses the user or the password")
            case Neo4jError(code=code) if code in _READ_ONLY:
                # Whoever made it read-only will end it; what is to be written can wait for that.
                return Unavailable(BRAIN, "the database is read-only")
            case Neo4jError(code=code) if code == _NO_DATABASE:
                return Misconfigured("NEO4J_DATABASE", f"there is no {self._database!r}")
            case ClientError(code=code) if code and code.startswith(_SECURITY):
                return Unauthorized(BRAIN, 403, said)
            case ClientError():
                return Refused(BRAIN, _REFUSED, said)
            case ServiceUnavailable() if _was_never_there(said):
                return Unreachable(BRAIN, said)
            case ConfigurationError():
                return Misconfigured(ADDRESS, said)
            case neo4j.exceptions.UnsupportedServerProduct():
                return BadAnswer(BRAIN, said)
            case _:
                return Unavailable(BRAIN, said)


@dataclass(frozen=True, slots=True)
class _State:
    """A project as the server has it.

    Attributes:
        project_id: the project.
        model: whose vectors are kept.
        dimensions: length of its vectors.
        revision: grows with every write.
        epoch: grows when something is deleted.
        items: how many there are.
    """

    project_id: str
    model: str
    dimensions: int
    revision: int
    epoch: int
    items: int

    @property
    def kind(self) -> tuple[str, int, int]:
        """What a matrix has to be of, to be brought up to date."""
        return self.model, self.dimensions, self.epoch

    @property
    def bytes(self) -> int:
        """How large its matrix is at first."""
        return self.room * self.dimensions * np.dtype(np.float32).itemsize

    @property
    def room(self) -> int:
        """How many rows its matrix has at first: some more than there are items."""
        return self.items + self.items // _ROOM_SHARE + _MIN_ROOM


@dataclass(frozen=True, slots=True)
class _Near:
    """An item near to another one."""

    cosine: float
    id: str


class _Matrix:
    """The vectors of a project, a row each.

    Attributes:
        kind: of the state it was made for.
        dimensions: length of a vector.
        revision: up to which it is.
    """

    def __init__(self, state: _State) -> None:
        self.kind, self.dimensions, self.revision = state.kind, state.dimensions, 0
        self._vectors = np.empty((state.room, state.dimensions), np.float32)
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def bytes(self) -> int:
        """How large it is."""
        return self._vectors.nbytes

    def put(self, item_id: str, vector: Sequence[float]) -> None:
        """Put an item's vector in the place of an earlier one, or behind the last one."""
        row = self._rows.get(item_id)
        if row is None:
            row = self._rows[item_id] = len(self._ids)
            self._ids.append(item_id)
            if row == len(self._vectors):
                room = row + row // _ROOM_SHARE + _MIN_ROOM
                grown = np.empty((room, self.dimensions), np.float32)
                grown[:row] = self._vectors
                self._vectors = grown
        self._vectors[row] = vector

    def find_near(
        self,
        queries: NDArray[np.float32],
        threshold: float,
        limit: int,
        without: Sequence[int] = (),
    ) -> list[list[_Near]]:
        """Find the rows near to each of some vectors; see `nearest.find_near`."""
        size = len(self._ids)
        found = find_near(
            self._vectors[:size], self._ids, queries, threshold, limit, without=without
        )
        return [[_Near(score, self._ids[row]) for row, score in near] for near in found]

    def find_neighbours(
        self, ids: Sequence[str], threshold: float, limit: int
    ) -> dict[str, list[_Near]]:
        """Find what is near to rows of its own, by their ids."""
        there = [one for one in ids if one in self._rows]
        rows = [self._rows[one] for one in there]
        near = self.find_near(self._vectors[rows], threshold, limit, rows)
        return dict(zip(there, near, strict=True))


class _Rows(list[Any]):
    """A parameter that stays out of the driver's log.

    The driver writes every parameter out for a debug line, wanted or not: four fifths of the time
    it spends on a batch of vectors, and no place for texts.
    """

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


def _row_of(item: GraphItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "order": item.order,
        "properties": {
            "content": item.content,
            "summary": item.summary,
            "context": item.context,
            "fingerprint": item.fingerprint,
            "vector": item.vector.tolist(),
        },
    }


def _check_length(vector: NDArray[np.float32], dimensions: int) -> None:
    if len(vector) != dimensions:
        reason = f"vectors have {dimensions} numbers here, not {len(vector)}"
        raise InvalidTask("wrong_dimensions", reason)


def _was_never_there(said: str) -> bool:
    """Tell whether no connection came about; the driver has one error for that and a lost one."""
    return "Couldn't connect" in said or "Cannot resolve" in said


@cache
def read_cypher(name: str) -> str:
    """Read what is sent to the server for a purpose."""
    return files("aletheia.adapters.brain").joinpath("cypher", f"{name}.cypher").read_text()


def _text(statement: str) -> LiteralString:
    """Pass a statement of ours for what the driver's types want: it has nothing from outside."""
    return cast("LiteralString", statement)


def _query(statement: str) -> neo4j.Query:
    return neo4j.Query(_text(statement))
