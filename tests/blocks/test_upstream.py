"""How to sign in, and who embeds, where that is not set (SPEC §1, §2)."""

from typing import Any

import pytest
from pydantic import SecretStr

from blocks import OpenAICredentials, UpstreamCredentials

ID = {"oauth2_client_id": "me"}
URL = {"oauth2_token_url": "https://id.example/token"}
ORY = {"ory_project_slug": "quirky-austin"}
TOKEN = {"token": SecretStr("abc")}


@pytest.mark.parametrize(
    ("values", "auth"),
    [
        ({}, "none"),
        (TOKEN, "token"),
        (ID | URL, "oauth2"),
        (ID | ORY, "oauth2"),
        (ID | ORY | TOKEN, "oauth2"),
        (ID, "none"),
        (URL | TOKEN, "token"),
        ({"token": SecretStr("")}, "none"),
        (ID | URL | TOKEN | {"auth": "none"}, "none"),
        (ID | URL | TOKEN | {"auth": "token"}, "token"),
        (TOKEN | {"auth": "oauth2"}, "oauth2"),
    ],
)
def test_the_sign_in_follows_from_the_credentials(values: dict[str, Any], auth: str):
    chosen, why = UpstreamCredentials(base_url="http://127.0.0.1", **values).choose_auth()
    assert chosen == auth
    assert why
    assert "abc" not in why


@pytest.mark.parametrize(
    ("key", "mode"),
    [
        (None, "local"),
        ("", "local"),
        ("  ", "local"),
        ("sk-1", "openai"),
        ("your_openai_api_key_here", "mock"),
    ],
)
def test_the_mode_follows_from_the_key_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch, key: str | None, mode: str
):
    account = OpenAICredentials(api_key=None if key is None else SecretStr(key))
    monkeypatch.delenv("PROCESSING_MODE", raising=False)
    settings, why = account.choose_mode()
    assert settings.processing_mode == mode
    assert "PROCESSING_MODE is not set" in why
    monkeypatch.setenv("PROCESSING_MODE", "")
    assert account.choose_mode()[0].processing_mode == mode
    for chosen in ("local", "ollama", "hybrid"):
        monkeypatch.setenv("PROCESSING_MODE", chosen)
        settings, why = account.choose_mode()
        assert (settings.processing_mode, why) == (chosen, "PROCESSING_MODE says so")


def test_the_default_model_is_that_of_the_mode(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PROCESSING_MODE", raising=False)
    settings, _ = OpenAICredentials(api_key=SecretStr("sk-1")).choose_mode()
    assert (settings.default_model, settings.is_remote) == ("text-embedding-3-small", True)
