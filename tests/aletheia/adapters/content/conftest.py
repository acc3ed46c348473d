"""Every backend of a project's items, each test with a project of its own."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from pymongo import AsyncMongoClient

from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.content.mongodb import MongoContent, database_of
from tests.services.fixtures import mongodb_uri

__all__ = ["mongodb_uri"]

AnyContent: TypeAlias = EmbeddedContent | MongoContent


@asynccontextmanager
async def opened_mongo(uri: str) -> AsyncGenerator[MongoContent]:
    project_id = f"test-{uuid.uuid4().hex}"
    content = MongoContent(uri, project_id)
    await content.open()
    yield content
    await content.close()
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        await client.drop_database(database_of(project_id))


@pytest.fixture
async def mongo_content(mongodb_uri: str) -> AsyncGenerator[MongoContent]:
    async with opened_mongo(mongodb_uri) as content:
        yield content


@pytest.fixture(params=["embedded", "mongodb"])
async def content(request: pytest.FixtureRequest) -> AsyncGenerator[AnyContent]:
    if request.param == "mongodb":
        async with opened_mongo(request.getfixturevalue("mongodb_uri")) as content:
            yield content
        return
    directory: Path = request.getfixturevalue("tmp_path")
    embedded = EmbeddedContent(directory, "Project-1")
    await embedded.open()
    yield embedded
    await embedded.close()
