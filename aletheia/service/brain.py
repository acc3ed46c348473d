"""The Brain API: the four endpoints of the specification, and what a client of our own asks for."""

import asyncio
from dataclasses import replace
from typing import Annotated, Final, Protocol, TypeAlias
from urllib.parse import unquote

import numpy as np
from fastapi import APIRouter, Depends, Header, Query, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from numpy.typing import NDArray
from pydantic import AfterValidator

from aletheia.brain.ports import (
    MAX_PREVIOUS,
    Brain,
    BrainDepartment,
    BrainItem,
    FailedItem,
    OtherModel,
)
from aletheia.service.brain_models import (
    CONTEXT_TOKENS,
    MAX_CONTEXT_TOKENS,
    MAX_ITEMS,
    MAX_MODEL_CHARS,
    MAX_PREVIOUS_CHARS,
    MAX_TEXT_CHARS,
    ContextFound,
    ContextQuery,
    CoverageFound,
    CoverageQuery,
    DuplicatesFound,
    DuplicatesQuery,
    EvaluationKept,
    EvaluationToKeep,
    ModelAdopted,
    ModelToAdopt,
    NewItem,
    NodesBatch,
    NodesDeleted,
    NodesFound,
    NodesIndexed,
    NodesToDelete,
    ProjectId,
    Slug,
    check_slugs,
    split_slugs,
)
from aletheia.service.refusals import describe_refusals

TAG: Final = "brain"

_SCHEME: Final = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="The key of the service, `BRAIN_SERVICE_API_KEY`.",
)
"""Documents the key; the routes themselves ask for it, before they read anything."""


_ModelNamed: TypeAlias = Annotated[
    str | None,
    Header(
        alias="X-Aletheia-Model",
        max_length=4 * MAX_MODEL_CHARS,
        description="The model that embeddings in the request are of, by its full name, with "
        "whatever else its vectors depend on; percent-encoded. If the service embeds with another "
        "one, it refuses them. Without it they are taken for those of the service's own model.",
    ),
]


class OpenedBrain(Protocol):
    """Gives a Brain, once it can be used."""

    async def brain(self) -> Brain:
        """Give the Brain, open.

        Raises:
            Unavailable: it is out of reach.
        """
        ...


def make_brain_router(source: OpenedBrain, route_class: type[APIRoute]) -> APIRouter:
    """Make the routes of the Brain API.

    Args:
        source: what answers.
        route_class: kind of the routes, which guards them.
    """
    router = APIRouter(
        prefix="/api/v1",
        tags=[TAG],
        route_class=route_class,
        dependencies=[Security(_SCHEME), Depends(_say_whose)],
        responses=describe_refusals(401, 422, 500, 502, 503),
        strict_content_type=False,
    )
    with_body = describe_refusals(400, 408, 413, 415)
    of_vectors = describe_refusals(409)
    adopting = _Adopting()

    @router.post("/nodes/batch", responses=with_body | of_vectors)
    async def index_nodes(batch: NodesBatch, model: _ModelNamed = None) -> NodesIndexed:
        """Index items of a department, and link them to their neighbours where it is a graph.

        The same ones again change nothing; after a 503 all of them are to be sent again.

        An item that cannot be indexed fails alone. One that was indexed for another department
        moves to this one.
        """
        brain = await source.brain()
        _check_model(brain, model)
        last = {one.id: one for one in batch.items}
        short = [one for one in last.values() if len(one.content) <= MAX_TEXT_CHARS]
        done = await brain.upsert(
            batch.project_id, batch.department.to_department(), [_to_item(one) for one in short]
        )
        codes = {one.id: one.code for one in done.failed}
        codes |= {
            one.id: "input_too_long" for one in last.values() if len(one.content) > MAX_TEXT_CHARS
        }
        failed = tuple(FailedItem(one, codes[one]) for one in last if one in codes)
        return NodesIndexed.of(replace(done, failed=failed))

    @router.post("/search/duplicates", responses=with_body | of_vectors)
    async def find_duplicates(query: DuplicatesQuery, model: _ModelNamed = None) -> DuplicatesFound:
        """Find the items of a project that are near to a text.

        Nothing is found of items that were indexed before the service went over to another model,
        until they are indexed again.
        """
        brain = await source.brain()
        _check_model(brain, model)
        found = await brain.find_duplicates(
            query.project_id,
            content=query.content,
            vector=None if query.embedding is None else _to_vector(query.embedding),
            threshold=query.threshold,
            limit=query.limit,
        )
        return DuplicatesFound.of(found)

    @router.get("/context/department", responses=of_vectors)
    async def read_context(
        project_id: ProjectId,
        department: Slug,
        previous: Annotated[
            str,
            AfterValidator(check_slugs),
            Query(
                max_length=MAX_PREVIOUS_CHARS,
                description=f"Slugs of earlier departments, {MAX_PREVIOUS} at most, with commas "
                "between them.",
                examples=["sales,hr"],
            ),
        ] = "",
        max_tokens: Annotated[
            int,
            Query(ge=0, le=MAX_CONTEXT_TOKENS, description="Of all texts together, at most."),
        ] = CONTEXT_TOKENS,
    ) -> ContextFound:
        """Tell what is known of a department and of those before it."""
        brain = await source.brain()
        known = await brain.read_context(
            project_id,
            BrainDepartment(department, department),
            split_slugs(previous),
            max_tokens=max_tokens,
        )
        return ContextFound.of(known)

    @router.post("/context/department", responses=with_body | of_vectors)
    async def read_described_context(query: ContextQuery) -> ContextFound:
        """Tell the same of a department whose description comes along, and names its aspects."""
        brain = await source.brain()
        known = await brain.read_context(
            query.project_id,
            query.department.to_department(),
            query.previous,
            max_tokens=query.max_tokens,
        )
        return ContextFound.of(known)

    @router.post("/analyze/coverage", responses=with_body | of_vectors)
    async def analyze_coverage(query: CoverageQuery) -> CoverageFound:
        """Say how well items cover the aspects of a department.

        The aspects are named by the department's description: the one that comes along, else that
        of the project's newest gather run where the service keeps runs of its own, else there is
        but the department as a whole.
        """
        brain = await source.brain()
        items = None if query.items is None else [one.to_item() for one in query.items]
        department = query.department.to_department()
        return CoverageFound.of(await brain.measure_coverage(query.project_id, department, items))

    @router.get("/nodes")
    async def list_nodes(
        project_id: ProjectId,
        after: Annotated[str, Query(description="Only items with a later id.")] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="Items at most.")] = MAX_ITEMS,
    ) -> NodesFound:
        """List what is indexed of a project, so that it can be compared with the store."""
        brain = await source.brain()
        return NodesFound.of(await brain.list_items(project_id, after=after, limit=limit))

    @router.post("/nodes/delete", responses=with_body)
    async def delete_nodes(query: NodesToDelete) -> NodesDeleted:
        """Delete items from the index."""
        brain = await source.brain()
        return NodesDeleted(deleted=await brain.delete(query.project_id, query.ids))

    @router.post("/evaluations", responses=with_body)
    async def keep_evaluation(query: EvaluationToKeep) -> EvaluationKept:
        """Keep an evaluation of a version of a department, in place of an earlier one of it."""
        brain = await source.brain()
        await brain.keep_evaluation(
            query.project_id, query.department, query.version, query.values_by_name
        )
        return EvaluationKept()

    @router.post("/model/adopt", responses=with_body | of_vectors)
    async def adopt_model(query: ModelToAdopt) -> ModelAdopted:
        """Keep vectors of the model that the service embeds with, if it is the one named here.

        Vectors of another model, and edges, are forgotten in all projects, whoever indexed them;
        the items stay, and cannot be found until they are indexed again: until then a search
        answers 200 with nothing. May take ten minutes; whoever asks again meanwhile waits for the
        same end, and gets the same answer.
        """
        brain = await source.brain()
        return ModelAdopted(adopted=await adopting.join(brain, query.model))

    return router


class _Adopting:
    """Goes over to another model once for all that ask for it at a time."""

    def __init__(self) -> None:
        self._attempts: dict[str, asyncio.Task[bool]] = {}

    async def join(self, brain: Brain, model: str) -> bool:
        """See `Brain.adopt_model`; it goes on where whoever asked for it is gone."""
        attempt = self._attempts.get(model)
        if attempt is None:
            attempt = self._attempts[model] = asyncio.create_task(brain.adopt_model(model))
            attempt.add_done_callback(lambda _: self._attempts.pop(model, None))
        return await asyncio.shield(attempt)


def _say_whose(response: Response) -> None:
    """Tell our own client that it may ask for more than the specification has."""
    response.headers["X-Aletheia"] = "brain"


def _check_model(brain: Brain, named: str | None) -> None:
    """See that vectors are of the model that the service embeds with.

    Raises:
        OtherModel: they are not.
    """
    if named and (asked := unquote(named)) != brain.model:
        raise OtherModel(brain.model, asked)


def _to_item(item: NewItem) -> BrainItem:
    vector = None if item.embedding is None else _to_vector(item.embedding)
    return BrainItem(item.id, item.content, item.summary, item.context, vector)


def _to_vector(numbers: list[float]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32)
