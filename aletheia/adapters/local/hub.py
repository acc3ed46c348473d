"""The Hugging Face hub, where models are downloaded from, and its cache on this machine."""

import importlib
import operator
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast

import httpx2
from yarl import URL

from aletheia.errors import InvalidTask

PROBE_TIMEOUT_S: Final = 2.5
"""Time for the hub to answer anything, seconds."""

FILES_WANTED: Final = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
FILES_UNWANTED: Final = ["onnx/*", "openvino/*", "*.bin", "*.pkl", "*.py", "*.onnx", "*.h5"]
"""Files that are downloaded: weights as safetensors, configuration, vocabulary; no code."""


class HuggingFaceHub:
    """The Hugging Face hub, its mirror at `endpoint`, or that of `HF_ENDPOINT`; all calls block."""

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
        shown = _without_credentials(endpoint)
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
            allow_patterns=FILES_WANTED,
            ignore_patterns=FILES_UNWANTED,
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
                allow_patterns=FILES_WANTED,
                ignore_patterns=FILES_UNWANTED,
            )
        ).absolute()


def _without_credentials(endpoint: str) -> str:
    """Return a hub's address without user and password."""
    try:
        return str(URL(endpoint).with_user(None))
    except ValueError:
        return "the hub"
