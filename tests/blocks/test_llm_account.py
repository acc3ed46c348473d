from typing import Any

import pytest

from aletheia.errors import Misconfigured
from blocks import LLMCredentials
from blocks.openai_account import PLACEHOLDER

OPENROUTER = {"openrouter_api_key": "or-key"}
OPENAI = {"openai_api_key": "oa-key"}
ANTHROPIC = {"anthropic_api_key": "an-key"}


@pytest.mark.parametrize(
    ("values", "choice", "why"),
    [
        ({}, "mock", "none of OPENROUTER_API_KEY, OPENAI_API_KEY, ANTHROPIC_API_KEY"),
        (ANTHROPIC | OPENAI | OPENROUTER, "openrouter", "OPENROUTER_API_KEY is set"),
        (ANTHROPIC | OPENAI, "openai", "OPENAI_API_KEY is set"),
        (ANTHROPIC, "anthropic", "ANTHROPIC_API_KEY is set"),
        ({"openai_api_key": PLACEHOLDER}, "mock", "none of"),
        ({"openai_api_key": PLACEHOLDER, **ANTHROPIC}, "anthropic", "ANTHROPIC_API_KEY"),
        ({"openrouter_api_key": "  ", **OPENAI}, "openai", "OPENAI_API_KEY"),
        ({"provider": "openai", **OPENROUTER, **OPENAI}, "openai", "LLM_PROVIDER"),
        ({"provider": "mock", **OPENROUTER}, "mock", "LLM_PROVIDER"),
    ],
)
def test_who_writes_is_what_is_set_or_else_the_first_with_a_key(
    values: dict[str, Any], choice: str, why: str
):
    block = LLMCredentials.model_validate(values)
    assert block.choice == choice
    assert why in block.choice_in_words
    assert "key" not in block.choice_in_words.replace("_KEY", "")


@pytest.mark.parametrize(
    ("values", "url", "key"),
    [
        (OPENROUTER, "https://openrouter.ai/api/v1", "or-key"),
        (OPENAI, "https://api.openai.com/v1", "oa-key"),
        (OPENAI | {"openai_base_url": "https://ours.example/v1"}, "https://ours.example/v1", None),
        (ANTHROPIC, "https://api.anthropic.com/v1", "an-key"),
        (OPENROUTER | {"base_url": "https://ours.example/v1"}, "https://ours.example/v1", None),
    ],
)
def test_its_own_key_goes_to_its_own_address(values: dict[str, Any], url: str, key: str | None):
    block = LLMCredentials.model_validate(values)
    client = block.get_client()
    assert (block.url, block.key) == (url, key or block.key)
    assert url in repr(client)
    assert client.provider == block.choice


@pytest.mark.parametrize("provider", ["openrouter", "openai", "anthropic"])
def test_a_provider_that_is_asked_for_and_has_no_key_is_named(provider: Any):
    with pytest.raises(Misconfigured, match=f"{provider.upper()}_API_KEY: is not set"):
        LLMCredentials(provider=provider).get_client()
