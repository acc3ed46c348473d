from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks import HuggingFaceCredentials
from tests.fakes.hub import running_hub

MODEL = "acme/gated"


def test_the_token_of_the_block_opens_a_gated_model_into_the_directory_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("MAX_MODEL_SIZE", "1000")
    with running_hub() as served:
        served.repositories[MODEL] = {"config.json": b"{}", "model.safetensors": b"weights"}
        served.gated[MODEL] = "hf_right"
        hub = HuggingFaceCredentials(token=SecretStr(" hf_right ")).get_client()
        hub.endpoint = served.endpoint

        assert tmp_path in hub.download(MODEL).parents
        assert hub.max_bytes == 1000


def test_a_block_without_a_token_sends_none():
    with running_hub() as served:
        served.repositories[MODEL] = {"config.json": b"{}"}
        hub = HuggingFaceCredentials().get_client()
        hub.endpoint = served.endpoint
        assert hub.size_of(MODEL) == 2
        assert served.seen_tokens == {""}
