"""The starter of the MongoDB wire server."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from aletheia.documents import Document
from tests.services.nx import find_nx, running_nx


@pytest.fixture
def program() -> Path:
    found = find_nx()
    if found is None:
        pytest.skip("no MongoDB wire server: run `make services`")
    return found


@pytest.fixture
def clients() -> Generator[list[MongoClient[Document]]]:
    opened: list[MongoClient[Document]] = []
    yield opened
    for store in opened:
        store.close()


def test_a_server_answers_until_it_is_stopped(program: Path, clients: list[MongoClient[Document]]):
    with running_nx(program) as uri:
        clients.append(MongoClient(uri, serverSelectionTimeoutMS=100))
        clients[0]["x"]["things"].insert_one({"_id": "1"})
        assert clients[0]["x"]["things"].find_one() == {"_id": "1"}
    with pytest.raises(PyMongoError):
        clients[0].admin.command("ping")


def test_two_servers_share_nothing(program: Path, clients: list[MongoClient[Document]]):
    with running_nx(program) as one, running_nx(program) as other:
        clients += [MongoClient(one), MongoClient(other)]
        clients[0]["x"]["things"].insert_one({"_id": "1"})
        assert clients[1]["x"]["things"].find_one() is None


def test_a_program_that_does_not_start_says_why(tmp_path: Path):
    program = tmp_path / "broken"
    program.write_text(f"#!{sys.executable}\nraise SystemExit('no such thing')\n")
    program.chmod(0o755)
    with pytest.raises(RuntimeError, match="no such thing"), running_nx(program):
        pass
