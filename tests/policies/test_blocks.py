"""Blocks keep to Prefect's standards and to ours."""

import re

import pytest
from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block
from pydantic import SecretStr

import blocks
from deployments.configuration import BLOCK_FIELDS

SLUGS = {
    "BrainCredentials": "aletheia-brain",
    "EventCredentials": "aletheia-events",
    "LLMCredentials": "aletheia-llm",
    "HuggingFaceCredentials": "aletheia-huggingface",
    "OpenAICredentials": "aletheia-openai",
    "PayloadCredentials": "aletheia-payload",
    "ServiceCredentials": "aletheia-service",
    "StoreCredentials": "aletheia-store",
    "UpstreamCredentials": "aletheia-upstream",
}
"""Fixed for ever: saved documents are found by them."""

BLOCKS: list[type[Block]] = [getattr(blocks, name) for name in blocks.__all__]


def test_every_block_is_known_here():
    assert set(SLUGS) == set(blocks.__all__)


@pytest.fixture(params=BLOCKS, ids=lambda block: block.__name__)
def block(request: pytest.FixtureRequest) -> type[Block]:
    return request.param


def test_a_slug_never_changes(block: type[Block]):
    assert block.get_block_type_slug() == SLUGS[block.__name__]


def test_a_block_has_a_description(block: type[Block]):
    assert (block.get_description() or "").endswith(".")


def test_every_field_is_described_in_a_sentence(block: type[Block]):
    for name, field in block.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_whatever_could_be_a_secret_is_kept_as_one(block: type[Block]):
    for name, field in block.model_fields.items():
        if re.search(r"(secret|token|password|uri|key)$", name):
            assert field.annotation in (SecretStr, SecretStr | None), name


def test_a_block_builds_a_client(block: type[Block]):
    assert issubclass(block, CredentialsBlock)


def test_every_field_of_every_block_can_be_set_by_one_variable(block: type[Block]):
    assert sorted(BLOCK_FIELDS[block].values()) == sorted(block.model_fields)
