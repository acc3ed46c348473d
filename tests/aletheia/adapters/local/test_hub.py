from collections.abc import Generator
from pathlib import Path

import pytest

from aletheia.adapters.local.hub import HuggingFaceHub, TooLargeError
from aletheia.adapters.local.source import ModelSources
from aletheia.errors import InvalidTask, ModelUnavailable
from tests.fakes.hub import FakeHub, running_hub

MODEL = "acme/first"
FILES = {"config.json": b"{}", "model.safetensors": bytes(2_000_000)}
SIZE = 2_000_002


@pytest.fixture
def served() -> Generator[FakeHub]:
    with running_hub() as hub:
        hub.repositories[MODEL] = FILES
        yield hub


def build_hub(served: FakeHub, cache_dir: Path, **options: object) -> HuggingFaceHub:
    return HuggingFaceHub(endpoint=served.endpoint, cache_dir=cache_dir, **options)  # pyright: ignore[reportArgumentType] - options of the one test


def test_a_model_that_is_too_large_by_its_list_of_files_is_not_begun(
    served: FakeHub, tmp_path: Path
):
    hub = build_hub(served, tmp_path, max_bytes=SIZE - 1)
    with pytest.raises(TooLargeError, match=r"2,000,002 bytes .* MAX_MODEL_SIZE is 2,000,001"):
        hub.download(MODEL)
    assert served.downloaded == []


def test_a_model_of_just_the_largest_size_is_downloaded(served: FakeHub, tmp_path: Path):
    path = build_hub(served, tmp_path, max_bytes=SIZE).download(MODEL)
    assert (path / "model.safetensors").stat().st_size == 2_000_000
    assert tmp_path in path.parents


def test_a_hub_that_understates_a_size_is_found_out_while_it_sends(served: FakeHub, tmp_path: Path):
    served.understated = True
    hub = build_hub(served, tmp_path, max_bytes=1_000_000)
    with pytest.raises(TooLargeError):
        hub.download(MODEL)
    assert hub.cached_bytes(MODEL) <= len(FILES["config.json"])


def test_what_is_too_large_is_said_where_a_model_is_searched_for(served: FakeHub, tmp_path: Path):
    sources = ModelSources(build_hub(served, tmp_path, max_bytes=10), packaged=None)
    with pytest.raises(ModelUnavailable, match=r"MAX_MODEL_SIZE is 10"):
        sources.find(MODEL)


def test_a_gated_model_opens_with_the_token_alone(served: FakeHub, tmp_path: Path):
    served.gated[MODEL] = "hf_right"
    with pytest.raises(InvalidTask, match="set HUGGINGFACE_TOKEN") as refused:
        build_hub(served, tmp_path).size_of(MODEL)
    assert refused.value.code == "model_gated"
    with pytest.raises(OSError, match="set HUGGINGFACE_TOKEN"):
        build_hub(served, tmp_path, token="hf_wrong").download(MODEL)
    hub = build_hub(served, tmp_path, token="hf_right")
    assert hub.download(MODEL).is_dir()


def test_no_token_is_taken_from_the_environment(
    served: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_somebody")
    build_hub(served, tmp_path).download(MODEL)
    assert served.seen_tokens == {""}
