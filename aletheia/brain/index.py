"""The Brain over what a backend keeps: everything about it that all backends have in common.

A backend (`BrainGraph`) writes, finds and lists. What an item has to be like, what embeds it, what
a department's context may take, what covers it, and which model's vectors are kept is decided
here, so that every backend answers alike.
"""

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from aletheia.brain.ports import (
    DUPLICATES,
    MAX_DUPLICATES,
    MAX_PREVIOUS,
    AspectCoverage,
    BrainDepartment,
    BrainGraph,
    BrainItem,
    Coverage,
    DepartmentContext,
    Duplicate,
    EarlierDepartment,
    FailedItem,
    GraphItem,
    IndexedItem,
    KnownItem,
    ModelChanged,
    OtherModel,
    Upserted,
)
from aletheia.errors import ComputeFailed, InvalidTask
from aletheia.items.calibration import Embed
from aletheia.items.departments import Department
from aletheia.llm.messages import estimate_tokens
from aletheia.quality.aspects import WHOLE
from aletheia.quality.scores import MAX_ITEMS, QualityItem, score_quality
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

WRITTEN_AT_ONCE: Final = 500
"""Items a backend is given in a call (SPEC §4, Brain)."""

EARLIER_ITEMS: Final = 5
"""Newest items of an earlier department that its summary is made of."""

SCORE_DIGITS: Final = 6
"""Digits of a score: as many as the cosine of two float32 vectors has.

With more, an item exactly at the threshold would be on either side of it by chance, and equal ones
would come in another order in every backend.
"""

MAX_ID_BYTES: Final = 1000
"""Longest id; Neo4j indexes no more than some 8,000 bytes of a text."""

_OWN_SHARE: Final = 0.6
_EARLIER_SHARE: Final = 0.9
"""Shares of a context that are full before the next kind gets its turn: no kind is crowded out."""

_MIN_NORM: Final = 1e-9
_MAX_NORM: Final = 1e9
_PROBE: Final = "How long is a vector?"

Catalogue: TypeAlias = Callable[[str, str], Awaitable[BrainDepartment | None]]
"""Finds a department by project and slug; `None` where nobody knows it."""


class Summed(Protocol):
    """An item as far as a summary is concerned."""

    @property
    def summary(self) -> str:
        """Its gist; may be empty."""
        ...

    @property
    def content(self) -> str:
        """The full text."""
        ...


def sum_up(name: str, newest: Sequence[Summed]) -> str:
    """Tell in some sentences what a department has come to.

    Args:
        name: of the department.
        newest: its items, newest first; `EARLIER_ITEMS` of them count.
    """
    points = [item.summary or item.content for item in newest[:EARLIER_ITEMS]]
    return " ".join([f"{name}:", *points])


def fingerprint_of(item: BrainItem | KnownItem) -> str:
    """Hash all that is indexed of an item, the vector aside: 32 hexadecimal digits."""
    said = json.dumps([_text_of(one) for one in (item.content, item.summary, item.context)])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def measure_cosines(
    vectors: NDArray[np.floating[Any]], vector: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Take raw cosines in float64, rounded to `SCORE_DIGITS`.

    Args:
        vectors: `(n, d)`, none of them zero.
        vector: `(d,)`, not zero.

    Returns:
        `(n,)` in `[-1, 1]`.
    """
    rows, one = vectors.astype(np.float64), vector.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(one)
    cosines: NDArray[np.float64] = np.clip(rows @ one / norms, -1.0, 1.0)
    return np.round(cosines, SCORE_DIGITS)


def rank_duplicates(found: Sequence[Duplicate], *, threshold: float, limit: int) -> list[Duplicate]:
    """Put hits in order: falling score, then id; without those below the threshold."""
    near = [one for one in found if one.score >= threshold]
    return sorted(near, key=lambda one: (-one.score, one.id))[:limit]


def choose_previous(slugs: Sequence[str]) -> list[str]:
    """Choose the earlier departments that count: the last ones, each of them once."""
    return list(dict.fromkeys(slugs))[-MAX_PREVIOUS:]


def make_unit(vector: Any) -> NDArray[np.float32]:
    """Make a vector `(d,)` float32 and of unit length.

    Raises:
        InvalidTask: `invalid_vector`: it is no row of numbers, not finite, or has no direction.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            given = np.asarray(vector, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidTask("invalid_vector", f"a vector is a row of numbers: {error}") from error
    exact = given.astype(np.float64)
    norm = float(np.linalg.norm(exact)) if given.ndim == 1 else math.nan
    if not _MIN_NORM <= norm <= _MAX_NORM:
        raise InvalidTask("invalid_vector", "a vector is a row of finite numbers, not all zero")
    return (exact / norm).astype(np.float32)


class IndexedBrain:
    """A `Brain` over a backend.

    Args:
        graph: what keeps items and vectors.
        embed: embeds full texts.
        model: the embedding model that `embed` and all vectors are of, by its full name.
        dimensions: `d`, length of its vectors; `None` has it found out when it has to be known.
        catalogue: finds the description of a department that comes without one.
        link_from: raw cosine, inclusive, from which items that are indexed are linked; `None`
            leaves that to whoever has the graph.
        count_tokens: counts the tokens of a text.
        clock: nanoseconds since 1970.

    Attributes:
        graph: the backend.
        model: the embedding model in use.
    """

    def __init__(
        self,
        graph: BrainGraph,
        embed: Embed,
        model: str,
        dimensions: int | None = None,
        *,
        catalogue: Catalogue | None = None,
        link_from: float | None = None,
        count_tokens: Callable[[str], int] = estimate_tokens,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.graph, self.model = graph, model
        self._embed, self._dimensions = embed, dimensions
        self._catalogue, self._link_from = catalogue, link_from
        self._count, self._clock = count_tokens, clock
        self._last_order = 0

    async def open(self) -> None:
        """See `Brain.open`."""
        await self.graph.open()

    async def close(self) -> None:
        """See `Brain.close`."""
        await self.graph.close()

    async def adopt_model(self, model: str) -> bool:
        """See `Brain.adopt_model`."""
        if model != self.model:
            raise OtherModel(self.model, model)
        kept = await self.graph.read_model()
        if kept is None:
            return False
        try:
            self._check_kept(kept)
        except ModelChanged as changed:
            log.warning(
                "going over from %r to %r: until they are indexed anew, nothing is found in any "
                "project, whoever's it is",
                changed.kept,
                changed.asked,
            )
            await self.graph.set_model(self.model, await self._known_dimensions())
            return True
        # What an earlier call began, and did not get to the end of, is finished.
        await self.graph.set_model(*kept)
        return False

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[BrainItem]
    ) -> Upserted:
        """See `Brain.upsert`.

        An item fails alone with `invalid_id` (empty, too long, or no text), `empty_text`,
        `wrong_dimensions`, `invalid_vector`, or what embedding it says.

        Raises:
            InvalidTask: `invalid_project_id`.
        """
        check_project_id(project_id)
        created = updated = 0
        failed: dict[str, str] = {}
        waiting = list({one.id: one for one in items}.values())
        if not waiting:
            return Upserted(0, 0)
        dimensions = await self._require_model(is_writing=True)
        assert dimensions is not None
        known = _scrub_department(department)
        for start in range(0, len(waiting), WRITTEN_AT_ONCE):
            some = waiting[start : start + WRITTEN_AT_ONCE]
            ready = await self._prepare(some, dimensions, failed)
            if not ready:
                continue
            new, there = await self.graph.upsert(project_id, known, ready)
            created, updated = created + new, updated + there
            await self._see_that_model_stays(project_id, ready, dimensions)
        taken = [one.id for one in waiting if one.id not in failed]
        if self._link_from is not None and taken:
            await self.graph.link(project_id, taken, threshold=self._link_from)
        faults = [FailedItem(one.id, failed[one.id]) for one in waiting if one.id in failed]
        return Upserted(created, updated, tuple(faults))

    async def find_duplicates(
        self,
        project_id: str,
        *,
        content: str | None = None,
        vector: NDArray[np.float32] | None = None,
        threshold: float,
        limit: int = DUPLICATES,
    ) -> list[Duplicate]:
        """See `Brain.find_duplicates`; scores have `SCORE_DIGITS` digits.

        Raises:
            InvalidTask: also `invalid_project_id`, or what embedding the content says.
            ValueError: threshold or limit are out of range.
        """
        check_project_id(project_id)
        if not -1 <= threshold <= 1 or not 1 <= limit <= MAX_DUPLICATES:
            raise ValueError(f"threshold {threshold!r} or limit {limit!r} is out of range")
        if vector is None and (content is None or not content.strip()):
            raise InvalidTask("missing_query", "name a text or a vector to compare with")
        unit = None if vector is None else make_unit(vector)
        dimensions = await self._require_model()
        if dimensions is None:
            return []
        if unit is None:
            (made,) = await self._embed([_text_of(content or "")])
            unit = make_unit(made)
        _check_length(unit, dimensions)
        found = await self.graph.search(project_id, unit, threshold=threshold, limit=limit)
        return rank_duplicates(found, threshold=threshold, limit=limit)

    async def read_context(
        self,
        project_id: str,
        department: BrainDepartment,
        previous: Sequence[str] = (),
        *,
        max_tokens: int,
    ) -> DepartmentContext:
        """See `Brain.read_context`.

        Own items come first, newest first, then the earlier departments, then gaps, the least
        covered first. Counted are all texts and ids; what does not fit any more is passed over.

        Raises:
            InvalidTask: `invalid_project_id`.
        """
        check_project_id(project_id)
        await self._require_model()
        own = _scrub_department(department)
        newest = await self.graph.list_newest(project_id, own.slug, MAX_ITEMS)
        coverage = await self._measure(project_id, own, newest[::-1])
        short = [one for one in coverage.aspects if one.covered < 1 and one.name != WHOLE]
        gaps = [one.name for one in sorted(short, key=lambda one: one.covered)]
        earlier: list[EarlierDepartment] = []
        for slug in choose_previous([_text_of(one) for one in previous]):
            items = await self.graph.list_newest(project_id, slug, EARLIER_ITEMS)
            if items:
                known = await self._look_up(project_id, slug)
                name = slug if known is None else known.name
                earlier.append(EarlierDepartment(slug, sum_up(name, items), tuple(items)))
        known = DepartmentContext(own.slug, tuple(newest), tuple(earlier), tuple(gaps))
        return _fit(known, _Room(self._count, max_tokens))

    async def measure_coverage(
        self,
        project_id: str,
        department: BrainDepartment,
        items: Sequence[KnownItem] | None = None,
    ) -> Coverage:
        """See `Brain.measure_coverage`: it is the gate's own coverage (`score_quality`).

        Args:
            project_id: the project.
            department: whose description names the aspects.
            items: oldest first.

        Raises:
            InvalidTask: `invalid_project_id`.
        """
        check_project_id(project_id)
        await self._require_model()
        own = _scrub_department(department)
        if items is None:
            items = (await self.graph.list_newest(project_id, own.slug, MAX_ITEMS))[::-1]
        return await self._measure(project_id, own, items)

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """See `Brain.list_items`."""
        return await self.graph.list_items(project_id, after=after, limit=limit)

    async def delete(self, project_id: str, ids: Sequence[str]) -> int:
        """See `Brain.delete`."""
        return await self.graph.delete(project_id, ids)

    async def keep_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """See `Brain.keep_evaluation`.

        Raises:
            InvalidTask: `invalid_project_id`.
        """
        check_project_id(project_id)
        await self.graph.keep_evaluation(project_id, _text_of(department), version, values)

    # Inside

    async def _require_model(self, *, is_writing: bool = False) -> int | None:
        """See that kept vectors are of the model in use, and give their length.

        Returns:
            `None` where nothing is kept yet; whoever writes has the model set then.

        Raises:
            ModelChanged: they are not.
        """
        kept = await self.graph.read_model()
        if kept is None:
            if not is_writing:
                return None
            dimensions = await self._known_dimensions()
            await self.graph.set_model(self.model, dimensions)
            return dimensions
        self._check_kept(kept)
        self._dimensions = kept[1]
        return kept[1]

    def _check_kept(self, kept: tuple[str, int] | None) -> None:
        if kept is None or kept[0] != self.model:
            raise ModelChanged("none" if kept is None else kept[0], self.model)
        if self._dimensions is not None and kept[1] != self._dimensions:
            mine = f"{self.model} of {self._dimensions} numbers"
            raise ModelChanged(f"{kept[0]} of {kept[1]} numbers", mine)

    async def _see_that_model_stays(
        self, project_id: str, written: Sequence[GraphItem], dimensions: int
    ) -> None:
        """Take back what was written while another process went over to another model."""
        kept = await self.graph.read_model()
        if kept != (self.model, dimensions):
            await self.graph.delete(project_id, [one.id for one in written])
            self._check_kept(kept)

    async def _known_dimensions(self) -> int:
        if self._dimensions is None:
            (made,) = await self._embed([_PROBE])
            self._dimensions = len(made)
        return self._dimensions

    async def _prepare(
        self, items: Sequence[BrainItem], dimensions: int, failed: dict[str, str]
    ) -> list[GraphItem]:
        """Make ready what can be written, and note why the rest cannot."""
        usable: list[BrainItem] = []
        for one in items:
            if not _is_id(one.id):
                failed[one.id] = "invalid_id"
            elif not one.content.strip():
                failed[one.id] = "empty_text"
            else:
                usable.append(one)
        made = await self._embed_missing([one for one in usable if one.vector is None], failed)
        ready: list[GraphItem] = []
        for one in usable:
            if one.id in failed:
                continue
            try:
                vector = make_unit(made[one.id] if one.vector is None else one.vector)
                _check_length(vector, dimensions)
            except InvalidTask as fault:
                failed[one.id] = fault.code
                continue
            ready.append(
                GraphItem(
                    id=one.id,
                    content=_text_of(one.content),
                    summary=_text_of(one.summary),
                    context=_text_of(one.context),
                    vector=vector,
                    fingerprint=fingerprint_of(one),
                    order=self._next_order(),
                )
            )
        return ready

    async def _embed_missing(
        self, items: Sequence[BrainItem], failed: dict[str, str]
    ) -> dict[str, NDArray[np.floating[Any]]]:
        """Embed items, each on its own where one of them cannot be embedded."""
        texts = [_text_of(one.content) for one in items]
        if not items:
            return {}
        try:
            vectors = await self._embed(texts)
            return {one.id: vector for one, vector in zip(items, vectors, strict=True)}
        except (InvalidTask, ComputeFailed) as fault:
            if len(items) == 1:
                failed[items[0].id] = fault.code
                return {}
        half = len(items) // 2
        found = await self._embed_missing(items[:half], failed)
        return found | await self._embed_missing(items[half:], failed)

    async def _measure(
        self, project_id: str, department: BrainDepartment, items: Sequence[KnownItem]
    ) -> Coverage:
        """Measure coverage over items, oldest first."""
        if not department.description:
            known = await self._look_up(project_id, department.slug)
            description = "" if known is None else known.description
            department = replace(department, description=description)
        return await asyncio.to_thread(_measure_coverage, department, items)

    async def _look_up(self, project_id: str, slug: str) -> BrainDepartment | None:
        return None if self._catalogue is None else await self._catalogue(project_id, slug)

    def _next_order(self) -> int:
        """Give a number above all earlier ones, in microseconds, so that processes agree."""
        self._last_order = max(self._last_order + 1, self._clock() // 1000)
        return self._last_order


def _measure_coverage(department: BrainDepartment, items: Sequence[KnownItem]) -> Coverage:
    # Nothing but the description counts, and a department that asks is not refused for its name.
    described = Department.model_construct(description=department.description)
    rows = [QualityItem(one.id, one.content, one.summary) for one in items]
    part = score_quality(described, rows).parts["coverage"]
    found = cast("list[dict[str, Any]]", part.evidence["aspects"])
    aspects = [
        AspectCoverage(one["aspect"], one["covered"], tuple(one["item_ids"])) for one in found
    ]
    return Coverage(part.score, tuple(aspects))


@dataclass(slots=True)
class _Room:
    """What is left of a context's tokens."""

    count: Callable[[str], int]
    most: int
    used: int = 0
    taken: set[str] = field(default_factory=set[str])

    def take(self, texts: Sequence[str], share: float = 1.0, *, is_first: bool = False) -> bool:
        """Take texts in if they fit, all of them; the first ones of all may fill all there is."""
        tokens = sum(self.count(text) for text in texts if text)
        if self.used + tokens > self.most * (1.0 if is_first else share):
            return False
        self.used += tokens
        return True

    def take_items(self, items: Sequence[KnownItem], share: float) -> None:
        for one in items:
            is_new = one.id not in self.taken
            if is_new and self.take(_texts_of(one), share, is_first=not self.used):
                self.taken.add(one.id)


def _fit(known: DepartmentContext, room: _Room) -> DepartmentContext:
    """Choose what there is room for, and keep its order."""
    room.take_items(known.items, _OWN_SHARE)
    previous: list[EarlierDepartment] = []
    for one in known.previous:
        if room.take((one.department, one.summary), _EARLIER_SHARE):
            items = [item for item in one.items if room.take(_texts_of(item), _EARLIER_SHARE)]
            previous.append(replace(one, items=tuple(items)))
    gaps = [gap for gap in known.gaps if room.take((gap,))]
    room.take_items(known.items, 1.0)
    items = tuple(one for one in known.items if one.id in room.taken)
    return DepartmentContext(known.department, items, tuple(previous), tuple(gaps))


def _texts_of(item: KnownItem) -> tuple[str, ...]:
    return item.id, item.content, item.summary, item.context


def _scrub_department(department: BrainDepartment) -> BrainDepartment:
    return replace(
        department,
        slug=_text_of(department.slug),
        name=_text_of(department.name),
        description=_text_of(department.description),
    )


def _check_length(vector: NDArray[np.float32], dimensions: int) -> None:
    if len(vector) != dimensions:
        reason = f"vectors have {dimensions} numbers here, not {len(vector)}"
        raise InvalidTask("wrong_dimensions", reason)


def _is_id(item_id: str) -> bool:
    try:
        return 0 < len(item_id.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:
        return False


def _text_of(text: str) -> str:
    """Write a text so that every backend can hold it: half surrogates become question marks."""
    return text if text.isascii() else text.encode(errors="replace").decode()
