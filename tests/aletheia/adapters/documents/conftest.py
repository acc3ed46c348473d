"""Every backend of the document store, each test with a store of its own."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.adapters.documents.mongodb import MongoDocuments
from aletheia.documents import Documents
from tests.services.fixtures import MONGODB_URI, mongodb_uri

__all__ = ["mongodb_uri"]

BACKENDS = ["embedded", "mongodb"]

# nx-27017 takes a boolean for a number, lets an update through a scalar pass, and more; what it
# gets wrong runs only against a server somebody gave the address of.
STRICT_BACKENDS = ["embedded", *(["mongodb"] if MONGODB_URI else [])]


@asynccontextmanager
async def opened(backend: str, request: pytest.FixtureRequest) -> AsyncGenerator[Documents]:
    if backend == "embedded":
        directory: Path = request.getfixturevalue("tmp_path")
        store = EmbeddedDocuments(directory / "store")
        await store.open()
        yield store
        await store.close()
        return
    uri: str = request.getfixturevalue("mongodb_uri")
    database = f"aletheia_test_{uuid.uuid4().hex}"
    store = MongoDocuments(uri, database)
    await store.open()
    yield store
    await store.close()
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        await client.drop_database(database)


@pytest.fixture(params=BACKENDS)
async def documents(request: pytest.FixtureRequest) -> AsyncGenerator[Documents]:
    async with opened(request.param, request) as store:
        yield store


@pytest.fixture(params=STRICT_BACKENDS)
async def strict_documents(request: pytest.FixtureRequest) -> AsyncGenerator[Documents]:
    async with opened(request.param, request) as store:
        yield store
