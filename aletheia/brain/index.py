"""The Brain over a backend: everything about it that all backends have in common."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from aletheia.brain.context import EARLIER_ITEMS, choose_previous, fit_context, sum_up
from aletheia.brain.forms import (
    check_length,
    escape_department,
    escape_text,
    fingerprint_of,
    is_id,
    make_unit,
    rank_duplicates,
)
from aletheia.brain.graph import BrainGraph, GraphItem
from aletheia.brain.ports import (
    DEFAULT_DUPLICATES,
    MAX_DUPLICATES,
    AspectCoverage,
    BrainDepartment,
    BrainItem,
    Catalogue,
    Coverage,
    DepartmentContext,
    Duplicate,
    EarlierDepartment,
    FailedItem,
    KnownItem,
    ModelChanged,
    OtherModel,
    Upserted,
)
from aletheia.errors import ComputeFailed, InvalidTask
from aletheia.items.departments import Department
from aletheia.items.word_vectors import Embed
from aletheia.quality.aspects import WHOLE
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import MAX_ITEMS, score_quality
from aletheia.store.project_id import check_project_id

log = logging.getLogger(__name__)

WRITTEN_AT_ONCE: Final = 500
"""Items a backend is given in a call (SPEC §4, Brain)."""

_PROBE: Final = "How long is a vector?"


class IndexedBrain:
    """A `Brain` over a backend; a project's id may be refused with `invalid_project_id`.

    Args:
        model: the embedding model that `embed` and all vectors are of, by its full name.
        dimensions: `d`, length of its vectors; `None` has it measured when it is needed.
        catalogue: finds the description of a department that comes without one.
        link_from: raw cosine, inclusive, from which items that are indexed are linked; `None`
            draws no edges.
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
    ) -> None:
        self.graph, self.model = graph, model
        self._embed, self._dimensions = embed, dimensions
        self._catalogue, self._link_from = catalogue, link_from
        self._last_order = 0

    async def open(self) -> None:
        """See `Brain.open`."""
        await self.graph.open()

    async def close(self) -> None:
        """See `Brain.close`."""
        await self.graph.close()

    async def adopt_model(self, model: str) -> bool:
        """Keep vectors of this model from now on; those of another one are forgotten.

        Takes `ADOPT_TIMEOUT_S` at most. What an earlier call did not finish is finished.

        Returns:
            Whether vectors of another one went, so that every project is to be indexed anew.

        Raises:
            OtherModel: it embeds with another one.
        """
        if model != self.model:
            raise OtherModel(self.model, model)
        kept = await self.graph.read_model()
        if kept is None:
            return False
        try:
            self._check_kept(kept)
        except ModelChanged as changed:
            log.warning(
                "adopting %r in place of %r: no project's items are found until they are indexed "
                "anew, whoever's project it is",
                changed.asked,
                changed.kept,
            )
            await self._set_model()
            return True
        # What an earlier call began and did not finish is finished.
        await self.graph.set_model(*kept)
        return False

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[BrainItem]
    ) -> Upserted:
        """See `Brain.upsert`.

        An item fails alone with `invalid_id` (empty, too long, or no text), `empty_text`,
        `wrong_dimensions`, `invalid_vector`, or the code that embedding it ends with.
        """
        check_project_id(project_id)
        waiting = list({item.id: item for item in items}.values())
        if not waiting:
            return Upserted(0, 0)
        dimensions = await self.check_model() or await self._set_model()
        escaped = escape_department(department)
        created = updated = 0
        failed: dict[str, str] = {}
        for start in range(0, len(waiting), WRITTEN_AT_ONCE):
            batch = waiting[start : start + WRITTEN_AT_ONCE]
            ready = await self._prepare(batch, dimensions, failed)
            if not ready:
                continue
            new, there = await self.graph.upsert(project_id, escaped, ready)
            created, updated = created + new, updated + there
            kept = await self.graph.read_model()
            if kept != (self.model, dimensions):
                # Another process has adopted another model meanwhile.
                await self.graph.delete(project_id, [item.id for item in ready])
                self._check_kept(kept)
        taken = [item.id for item in waiting if item.id not in failed]
        if self._link_from is not None and taken:
            await self.graph.link(project_id, taken, threshold=self._link_from)
        faults = [FailedItem(item.id, failed[item.id]) for item in waiting if item.id in failed]
        return Upserted(created, updated, tuple(faults))

    async def find_duplicates(
        self,
        project_id: str,
        *,
        content: str | None = None,
        vector: NDArray[np.float32] | None = None,
        threshold: float,
        limit: int = DEFAULT_DUPLICATES,
    ) -> list[Duplicate]:
        """See `Brain.find_duplicates`; scores have `SCORE_DIGITS` digits."""
        check_project_id(project_id)
        check_query(content, vector, threshold, limit)
        unit = None if vector is None else make_unit(vector)
        dimensions = await self.check_model()
        if dimensions is None:
            return []
        if unit is None:
            (embedded,) = await self._embed([escape_text(content or "")])
            unit = make_unit(embedded)
        check_length(unit, dimensions)
        hits = await self.graph.search(project_id, unit, threshold=threshold, limit=limit)
        return rank_duplicates(hits, threshold=threshold, limit=limit)

    async def read_context(
        self,
        project_id: str,
        department: BrainDepartment,
        previous: Sequence[str] = (),
        *,
        max_tokens: int,
    ) -> DepartmentContext:
        """See `Brain.read_context`; what of it fits is `fit_context`'s to choose.

        Own items come first, newest first, then the earlier departments, then gaps, the least
        covered first.
        """
        check_project_id(project_id)
        await self.check_model()
        own = escape_department(department)
        newest = await self.graph.list_newest(project_id, own.slug, MAX_ITEMS)
        coverage = await self._measure(project_id, own, newest[::-1])
        aspects = sorted(coverage.aspects, key=lambda aspect: aspect.covered)
        earlier = [
            found
            for slug in choose_previous([escape_text(slug) for slug in previous])
            if (found := await self._sum_up(project_id, slug)) is not None
        ]
        gaps = tuple(
            aspect.name for aspect in aspects if aspect.covered < 1 and aspect.name != WHOLE
        )
        context = DepartmentContext(tuple(newest), tuple(earlier), gaps, department=own.slug)
        return fit_context(context, max_tokens)

    async def measure_coverage(
        self,
        project_id: str,
        department: BrainDepartment,
        items: Sequence[KnownItem] | None = None,
    ) -> Coverage:
        """See `Brain.measure_coverage`: the gate's (`score_quality`) over items, oldest first."""
        check_project_id(project_id)
        await self.check_model()
        own = escape_department(department)
        if items is None:
            items = (await self.graph.list_newest(project_id, own.slug, MAX_ITEMS))[::-1]
        return await self._measure(project_id, own, items)

    async def save_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """See `BrainGraph.save_evaluation`."""
        check_project_id(project_id)
        await self.graph.save_evaluation(project_id, escape_text(department), version, values)

    async def check_model(self) -> int | None:
        """Check that vectors are of the model in use; return their length, `None` before the first.

        Raises:
            Unavailable: the Brain is out of reach.
            ModelChanged: they are of another one.
        """
        kept = await self.graph.read_model()
        if kept is None:
            return None
        self._check_kept(kept)
        self._dimensions = kept[1]
        return kept[1]

    async def _set_model(self) -> int:
        if self._dimensions is None:
            (embedded,) = await self._embed([_PROBE])
            self._dimensions = len(embedded)
        await self.graph.set_model(self.model, self._dimensions)
        return self._dimensions

    def _check_kept(self, kept: tuple[str, int] | None) -> None:
        if kept is None or kept[0] != self.model:
            raise ModelChanged("none" if kept is None else kept[0], self.model)
        if self._dimensions is not None and kept[1] != self._dimensions:
            mine = f"{self.model} of {self._dimensions} numbers"
            raise ModelChanged(f"{kept[0]} of {kept[1]} numbers", mine)

    async def _prepare(
        self, items: Sequence[BrainItem], dimensions: int, failed: dict[str, str]
    ) -> list[GraphItem]:
        """Return the items that can be written, of no two the same id; fill `failed` with codes."""
        for item in items:
            if not is_id(item.id):
                failed[item.id] = "invalid_id"
            elif not item.content.strip():
                failed[item.id] = "empty_text"
        usable = [item for item in items if item.id not in failed]
        embedded = await self._embed_each([item for item in usable if item.vector is None], failed)
        ready: list[GraphItem] = []
        for item in usable:
            if item.id in failed:
                continue
            try:
                vector = make_unit(embedded[item.id] if item.vector is None else item.vector)
                check_length(vector, dimensions)
            except InvalidTask as fault:
                failed[item.id] = fault.code
                continue
            # Microseconds, above all earlier ones, so that processes agree on the order.
            self._last_order = max(self._last_order + 1, time.time_ns() // 1000)
            ready.append(
                GraphItem(
                    item.id,
                    escape_text(item.content),
                    escape_text(item.summary),
                    escape_text(item.context),
                    vector,
                    fingerprint_of(item),
                    self._last_order,
                )
            )
        return ready

    async def _embed_each(
        self, items: Sequence[BrainItem], failed: dict[str, str]
    ) -> dict[str, NDArray[np.floating[Any]]]:
        """Embed items; where some of them cannot be, their halves, down to the one that cannot."""
        if not items:
            return {}
        try:
            vectors = await self._embed([escape_text(item.content) for item in items])
            return {item.id: vector for item, vector in zip(items, vectors, strict=True)}
        except (InvalidTask, ComputeFailed) as fault:
            if len(items) == 1:
                failed[items[0].id] = fault.code
                return {}
        half = len(items) // 2
        embedded = await self._embed_each(items[:half], failed)
        return embedded | await self._embed_each(items[half:], failed)

    async def _sum_up(self, project_id: str, slug: str) -> EarlierDepartment | None:
        items = await self.graph.list_newest(project_id, slug, EARLIER_ITEMS)
        if not items:
            return None
        known = await self._look_up(project_id, slug)
        return EarlierDepartment(slug, sum_up(known.name, items), tuple(items))

    async def _measure(
        self, project_id: str, department: BrainDepartment, items: Sequence[KnownItem]
    ) -> Coverage:
        """Measure coverage over items, oldest first."""
        if not department.description:
            known = await self._look_up(project_id, department.slug)
            department = replace(department, description=known.description)
        return await asyncio.to_thread(_measure_coverage, department, tuple(items))

    async def _look_up(self, project_id: str, slug: str) -> BrainDepartment:
        known = None if self._catalogue is None else await self._catalogue(project_id, slug)
        return known or BrainDepartment(slug, slug)


def check_query(
    content: str | None, vector: NDArray[np.float32] | None, threshold: float, limit: int
) -> None:
    """Check what `Brain.find_duplicates` is given.

    Raises:
        InvalidTask: `missing_query`.
        ValueError: threshold or limit are out of range.
    """
    if not -1 <= threshold <= 1 or not 1 <= limit <= MAX_DUPLICATES:
        raise ValueError(f"threshold {threshold!r} or limit {limit!r} is out of range")
    if vector is None and (content is None or not content.strip()):
        raise InvalidTask("missing_query", "name a text or a vector to compare with")


@lru_cache(maxsize=8)  # who asks again often has the same items still
def _measure_coverage(department: BrainDepartment, items: tuple[KnownItem, ...]) -> Coverage:
    # Nothing but name and description counts, and no department is refused for its name.
    described = Department.model_construct(name=department.name, description=department.description)
    rows = [QualityItem(item.id, item.content, item.summary) for item in items]
    part = score_quality(described, rows).parts["coverage"]
    evidence = cast("list[dict[str, Any]]", part.evidence["aspects"])
    aspects = [
        # An item without an id counts, and cannot be named.
        AspectCoverage(aspect["aspect"], aspect["covered"], tuple(filter(None, aspect["item_ids"])))
        for aspect in evidence
    ]
    return Coverage(part.score, tuple(aspects))
