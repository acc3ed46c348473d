"""What a caller of the Brain's API sends is refused before it costs much."""

import re
import tracemalloc
from typing import Any

import pytest
from pydantic import ValidationError

from aletheia.brain import wire

DEPARTMENT = {"slug": "legal"}
MANY = 16_384
NO_NUMBER: dict[str, Any] = {}


def batch(*items: object) -> dict[str, Any]:
    return {"project_id": "p", "department": DEPARTMENT, "items": list(items)}


def item(**values: object) -> dict[str, Any]:
    return {"id": "i", "content": "text", **values}


@pytest.mark.parametrize(
    ("model", "request_body"),
    [
        (wire.NodesBatch, batch(*[item(embedding=[NO_NUMBER] * MANY)] * 1000)),
        (wire.NodesBatch, batch(*[NO_NUMBER] * MANY)),
        (wire.DuplicatesQuery, {"project_id": "p", "embedding": [NO_NUMBER] * MANY * 60}),
        (
            wire.CoverageQuery,
            {"project_id": "p", "department": DEPARTMENT, "items": [NO_NUMBER] * MANY},
        ),
    ],
    ids=["vectors", "items", "a vector", "items that are measured"],
)
def test_the_first_mistake_of_a_list_ends_its_reading(model: Any, request_body: dict[str, Any]):
    tracemalloc.start()
    try:
        with pytest.raises(ValidationError) as refused:
            model.model_validate(request_body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.error_count() <= 3
    assert peak < 10_000_000


def test_a_question_is_as_long_as_its_caller_can_wait_for():
    query = {"project_id": "p", "content": "x" * wire.MAX_QUERY_CHARS}
    assert wire.DuplicatesQuery.model_validate(query).content == query["content"]
    with pytest.raises(ValidationError, match=re.compile("at most 50000 characters")):
        wire.DuplicatesQuery.model_validate(query | {"content": "x" * 750_000})
