from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.brain.neo4j import Neo4jGraph
from aletheia.adapters.brain.service import BrainService
from aletheia.errors import Misconfigured
from blocks import BrainCredentials

SERVICE = {"service_base_url": "https://brain.example.com", "service_api_key": "a-key"}
NEO4J = {"neo4j_uri": "neo4j://localhost:7687", "neo4j_password": "secret"}


def build(directory: Path, **values: Any) -> BrainCredentials:
    return BrainCredentials.model_validate({"data_dir": directory, **values})


def test_a_service_goes_before_neo4j_and_neo4j_before_a_file(tmp_path: Path):
    assert isinstance(build(tmp_path, **SERVICE, **NEO4J).get_client(), BrainService)
    assert isinstance(build(tmp_path, **NEO4J).get_client(), Neo4jGraph)
    assert isinstance(build(tmp_path).get_client(), EmbeddedGraph)


def test_a_service_hears_which_model_vectors_are_of(tmp_path: Path):
    block = build(tmp_path, **SERVICE)
    for service in (block.get_service("tests/m 384"), block.get_client("tests/m 384")):
        assert isinstance(service, BrainService)
        assert service.model == "tests/m 384"


def test_what_is_served_is_never_kept_by_a_service(tmp_path: Path):
    assert isinstance(build(tmp_path, **SERVICE).get_graph(), EmbeddedGraph)
    assert isinstance(build(tmp_path, **SERVICE, **NEO4J).get_graph(), Neo4jGraph)


@pytest.mark.parametrize("values", [{"service_api_key": None}, {"service_api_key": " "}])
def test_a_service_needs_a_key(tmp_path: Path, values: dict[str, Any]):
    block = build(tmp_path, **{**SERVICE, **values})
    assert block.api_key == ""
    with pytest.raises(Misconfigured, match="BRAIN_SERVICE_API_KEY"):
        block.get_service()


def test_an_address_that_is_none_is_said_to_be(tmp_path: Path):
    with pytest.raises(Misconfigured, match="BRAIN_SERVICE_BASE_URL"):
        build(tmp_path, **{**SERVICE, "service_base_url": "brain"}).get_service()


def test_blanks_around_a_key_are_taken_off(tmp_path: Path):
    assert build(tmp_path, service_api_key=" a-key\n").api_key == "a-key"
