"""Where the files of Whisper models come from."""

from pathlib import Path

import pytest

from aletheia.adapters.audio import models
from aletheia.adapters.audio.models import ENGLISH, SpeechHub, find_packaged, find_speech_model
from aletheia.errors import ModelUnavailable


class FakeHub(SpeechHub):
    """A hub with some models in its cache, and others that it delivers."""

    def __init__(self, cached: dict[str, Path], delivered: dict[str, Path], why: str = "") -> None:
        super().__init__()
        self._cached, self._delivered, self._why = cached, delivered, why
        self.asked: list[str] = []

    def cached(self, model: str) -> Path | None:
        self.asked.append(model)
        return self._cached.get(model)

    def obstacle(self) -> str | None:
        return self._why or None

    def download(self, model: str) -> Path:
        if model not in self._delivered:
            raise OSError("404")
        return self._delivered[model]


def make_model(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "model.bin").write_bytes(b"weights")
    (directory / "config.json").write_text("{}")
    return directory


def test_a_directory_of_the_operator_comes_first(tmp_path: Path):
    mine = make_model(tmp_path / "small.en")
    hub = FakeHub({}, {})
    found = find_speech_model("small.en", directory=tmp_path, hub=hub, packaged=None)
    assert (found.directory, found.languages) == (mine, ENGLISH)
    assert hub.asked == []
    other = make_model(tmp_path / "org__whisper-nl")
    found = find_speech_model("org/whisper-nl", directory=tmp_path, hub=hub, packaged=None)
    assert (found.directory, found.languages) == (other, None)


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("small", "Systran/faster-whisper-small"),
        ("turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo"),
        ("distil-small.en", "Systran/faster-distil-whisper-small.en"),
        ("me/mine", "me/mine"),
    ],
)
def test_a_size_stands_for_a_model_of_the_hub(tmp_path: Path, name: str, repository: str):
    cached = make_model(tmp_path / "cached")
    hub = FakeHub({repository: cached}, {})
    found = find_speech_model(name, directory=None, hub=hub, packaged=None)
    assert found.directory == cached
    delivering = FakeHub({}, {repository: cached})
    found = find_speech_model(name, directory=None, hub=delivering, packaged=None)
    assert found.directory == cached


def test_a_model_that_is_nowhere_is_unavailable(tmp_path: Path):
    hubs = (FakeHub({}, {}, "no route"), FakeHub({}, {}), FakeHub({}, {"a/b": tmp_path}))
    for hub in hubs:
        with pytest.raises(ModelUnavailable):
            find_speech_model("a/b", directory=tmp_path, hub=hub, packaged=None)


def test_a_path_is_no_name(tmp_path: Path):
    make_model(tmp_path / "outside")
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ModelUnavailable):
        find_speech_model("../outside", directory=inside, hub=FakeHub({}, {}, "no"), packaged=None)


def test_the_packaged_model_is_used_where_it_is_what_was_published(tmp_path: Path):
    hub = FakeHub({}, {}, "no route")
    packaged = find_packaged()
    if packaged is not None:
        found = find_speech_model("tiny.en", directory=None, hub=hub, packaged=packaged)
        assert (found.directory, found.languages) == (packaged, ENGLISH)
    changed = make_model(tmp_path / "changed")
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        find_speech_model("tiny.en", directory=None, hub=hub, packaged=changed)
    with pytest.raises(ModelUnavailable):
        find_speech_model("base.en", directory=None, hub=hub, packaged=changed)


def test_a_package_that_is_not_there_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "PACKAGE", "no_such_package_at_all")
    assert find_packaged() is None
