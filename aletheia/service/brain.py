"""The Brain API: the four endpoints of SPEC §4, over any graph that is at hand."""

import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Final, TypeAlias
from urllib.parse import unquote

from fastapi import APIRouter, FastAPI, Header, Query, Security
from fastapi.security import HTTPBearer
from pydantic import AfterValidator

from aletheia.brain import wire
from aletheia.brain.index import IndexedBrain
from aletheia.brain.ports import (
    MAX_PREVIOUS,
    BrainDepartment,
    Coverage,
    DepartmentContext,
    FailedItem,
    OtherModel,
    Upserted,
)
from aletheia.errors import AletheiaError
from aletheia.service.guarding import GuardedRoute
from aletheia.service.parts import Part
from aletheia.service.refusals import BODY_MEANINGS, MEANINGS, describe_refusals

log = logging.getLogger(__name__)

_SCHEME: Final = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="The key of the service, `BRAIN_SERVICE_API_KEY`.",
)
"""Documents the key; the routes themselves ask for it, before they read anything."""

_ModelNamed: TypeAlias = Annotated[
    str | None,
    Header(
        alias=wire.MODEL_HEADER,
        max_length=4 * wire.MAX_MODEL_CHARS,
        description="The model that embeddings in the request are of, by its full name, with "
        "whatever else its vectors depend on; percent-encoded. If the service embeds with another "
        "one, it refuses them. Without it they are taken for those of the service's own model.",
    ),
]


class BrainSource:
    """A Brain that is opened once, as soon as that works, and closed with the service.

    `build` makes it, not open yet; what that raises is raised to whoever asks for it.
    """

    def __init__(self, build: Callable[[], Awaitable[IndexedBrain]]) -> None:
        self._build = build
        self._brain: IndexedBrain | None = None
        self._part = Part(self._open)

    async def opened(self) -> IndexedBrain:
        """Return the Brain, open, or raise `Unavailable`, or `Misconfigured`."""
        return await self._part.get()

    async def ping(self) -> None:
        """Check that the Brain answers (`Unavailable`), with the model in use (`ModelChanged`)."""
        await (await self.opened()).check_model()

    async def _open(self) -> IndexedBrain:
        if self._brain is None:
            self._brain = await self._build()
        await self._brain.open()
        return self._brain

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncGenerator[None]:
        """Open the Brain at the start, if that works by then, and close it at the end."""
        try:
            await self.opened()
        except AletheiaError as error:
            log.warning("opening the Brain is tried again with the first request: %s", error)
        try:
            yield
        finally:
            if self._brain is not None:
                await self._brain.close()


def make_brain_router(source: BrainSource, route_class: type[GuardedRoute]) -> APIRouter:
    """Build the routes of the Brain API; `route_class` guards them."""
    router = APIRouter(
        tags=["brain"],
        route_class=route_class,
        dependencies=[Security(_SCHEME)],
        responses=describe_refusals(MEANINGS),
        strict_content_type=False,
        lifespan=source.lifespan,
    )
    with_body = describe_refusals(BODY_MEANINGS)

    @router.post(wire.INDEX_PATH, responses=with_body)
    async def index_nodes(batch: wire.NodesBatch, model: _ModelNamed = None) -> Upserted:
        """Index items of a department.

        The same ones again change nothing; after a 503 all of them are to be sent again.

        An item that cannot be indexed fails alone. One that was indexed for another department
        moves to this one.
        """
        brain = await source.opened()
        _check_model(brain, model)
        last = {item.id: item for item in batch.items}
        too_long = {item.id for item in last.values() if len(item.content) > wire.MAX_TEXT_CHARS}
        items = [item.to_new_item() for item in last.values() if item.id not in too_long]
        done = await brain.upsert(batch.project_id, batch.department.to_department(), items)
        codes = {item.id: item.code for item in done.failed} | dict.fromkeys(
            too_long, wire.TOO_LONG
        )
        failed = tuple(FailedItem(item_id, codes[item_id]) for item_id in last if item_id in codes)
        return replace(done, failed=failed)

    @router.post(wire.SEARCH_PATH, responses=with_body)
    async def find_duplicates(
        query: wire.DuplicatesQuery, model: _ModelNamed = None
    ) -> wire.DuplicatesFound:
        """Find the items of a project that are near to a text.

        Nothing is found of items that were indexed before the service changed its model, until
        they are indexed again.
        """
        brain = await source.opened()
        _check_model(brain, model)
        hits = await brain.find_duplicates(
            query.project_id,
            content=query.content,
            vector=None if query.embedding is None else wire.to_vector(query.embedding),
            threshold=query.threshold,
            limit=query.limit,
        )
        return wire.DuplicatesFound(duplicates=tuple(hits))

    @router.get(wire.CONTEXT_PATH)
    async def read_context(
        project_id: wire.ProjectId,
        department: wire.Slug,
        previous: Annotated[
            str,
            AfterValidator(_check_slugs),
            Query(
                max_length=wire.MAX_PREVIOUS_CHARS,
                description=f"Slugs of earlier departments, {MAX_PREVIOUS} at most, with commas "
                "between them.",
                examples=["sales,hr"],
            ),
        ] = "",
        max_tokens: Annotated[
            int,
            Query(ge=0, le=wire.MAX_CONTEXT_TOKENS, description="Of all texts together, at most."),
        ] = wire.DEFAULT_CONTEXT_TOKENS,
    ) -> DepartmentContext:
        """Return what is known of a department and of those before it."""
        brain = await source.opened()
        asked = BrainDepartment(department, department)
        return await brain.read_context(
            project_id, asked, _split_slugs(previous), max_tokens=max_tokens
        )

    @router.post(wire.COVERAGE_PATH, responses=with_body)
    async def analyze_coverage(query: wire.CoverageQuery) -> Coverage:
        """Measure how well items cover the aspects of a department.

        The aspects are named by the department's description in the project's newest gather run,
        where the service has runs of its own; else the department as a whole is the only one.
        """
        brain = await source.opened()
        items = None if query.items is None else [item.to_item() for item in query.items]
        department = query.department.to_department()
        return await brain.measure_coverage(query.project_id, department, items)

    return router


def _check_model(brain: IndexedBrain, named: str | None) -> None:
    """Raise `OtherModel` unless vectors are of the model that the service embeds with."""
    if named and (asked := unquote(named)) != brain.model:
        raise OtherModel(brain.model, asked)


def _split_slugs(text: str) -> list[str]:
    """Read slugs with commas between them, each of them once."""
    return list(dict.fromkeys(slug for slug in text.split(",") if slug))


def _check_slugs(text: str) -> str:
    """Check that slugs with commas between them are not too many."""
    if len(_split_slugs(text)) > MAX_PREVIOUS:
        raise ValueError(f"at most {MAX_PREVIOUS} departments")
    return text
