"""The starter of Neo4j. What it does for a server that is killed, tests of the Brain see."""

from pathlib import Path

import pytest

from tests.services.neo4j_server import Neo4jServer, running_neo4j, what_is_missing

pytestmark = pytest.mark.timeout(180)


def test_a_server_that_does_not_start_says_why(tmp_path: Path):
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    server = Neo4jServer(tmp_path)
    with pytest.raises(RuntimeError, match=r"server\.memory\.pagecache\.size"):
        server.start({"server.memory.pagecache.size": "nonsense"})
    server.stop()


def test_where_there_is_no_java_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match="no Java"), running_neo4j():
        pass
