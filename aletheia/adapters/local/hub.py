"""The Hugging Face hub, or a mirror of it; nothing here imports torch."""

import importlib
import operator
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import httpx2
from yarl import URL

from aletheia.analysis.model_settings import DEFAULT_MAX_MODEL_BYTES
from aletheia.errors import InvalidTask

PROBE_TIMEOUT_S: Final = 2.5
"""Time for the hub to answer anything, seconds."""

FILES_WANTED: Final = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
FILES_UNWANTED: Final = ["onnx/*", "openvino/*", "*.bin", "*.pkl", "*.py", "*.onnx", "*.h5"]
"""Files that are downloaded: weights as safetensors, configuration, vocabulary; no code."""


class TooLargeError(OSError):
    """A model has more bytes than `MAX_MODEL_SIZE`."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(size_bytes, max_bytes)
        self.size_bytes, self.max_bytes = size_bytes, max_bytes

    def __str__(self) -> str:
        return (
            f"there are {self.size_bytes:,} bytes to download, MAX_MODEL_SIZE is {self.max_bytes:,}"
        )


class HuggingFaceHub:
    """The Hugging Face hub, its mirror at `endpoint`, or that of `HF_ENDPOINT`; all calls block.

    Args:
        endpoint: its address.
        cache_dir: where models are kept; `None`: where the hub's own library keeps them.
        token: opens gated models. Without one nothing that lies in the environment, or in the
            home directory, is taken for one.
        max_bytes: of a model that is downloaded.
    """

    wanted: Sequence[str] = FILES_WANTED
    unwanted: Sequence[str] = FILES_UNWANTED
    endpoint: str | None = None
    _cache_dir: Path | None = None
    _token: str | None = None
    max_bytes: int = DEFAULT_MAX_MODEL_BYTES

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        cache_dir: Path | None = None,
        token: str | None = None,
        max_bytes: int = DEFAULT_MAX_MODEL_BYTES,
    ) -> None:
        self.endpoint, self._cache_dir, self._token = endpoint, cache_dir, token
        self.max_bytes = max_bytes

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
        endpoint: str = self.endpoint or constants.ENDPOINT
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
        """Bring the model's files into the cache; return their directory, or raise `OSError`.

        Raises:
            TooLargeError: it has more than `max_bytes`, by what the hub says, or by what came;
                nothing that is not complete stays then.
        """
        try:
            self.check_size(model)
        except InvalidTask as error:
            raise OSError(str(error)) from error
        try:
            return self._snapshot(model, is_offline=False)
        except TooLargeError:
            self._remove_incomplete(model)
            raise
        except (httpx2.HTTPError, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def check_size(self, model: str) -> int:
        """Return the bytes to download. Raises `TooLargeError`, and as `size_of`."""
        size = self.size_of(model)
        if size > self.max_bytes:
            raise TooLargeError(size, self.max_bytes)
        return size

    def size_of(self, model: str) -> int:
        """Return the bytes that would be downloaded; `InvalidTask` or `OSError` if not known."""
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
        api = hub.HfApi(endpoint=self.endpoint, token=self._token or False)
        try:
            tree = cast("Iterable[Any]", api.list_repo_tree(model, recursive=True))
            files = [entry for entry in tree if isinstance(entry, hub.hf_api.RepoFile)]
        except errors.GatedRepoError as error:
            reason = f"the hub gives {model!r} only to accounts that were admitted"
            raise InvalidTask("model_gated", f"{reason}; set HUGGINGFACE_TOKEN") from error
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
        total = 0
        for blob in self._blobs(model).glob("*"):
            try:
                total += blob.stat().st_size
            except FileNotFoundError:  # it was renamed when it was complete
                continue
        return total

    def _blobs(self, model: str) -> Path:
        constants = importlib.import_module("huggingface_hub.constants")
        cache = self._cache_dir or Path(constants.HF_HUB_CACHE)
        return cache / f"models--{model.replace('/', '--')}" / "blobs"

    def _remove_incomplete(self, model: str) -> None:
        for blob in self._blobs(model).glob("*.incomplete"):
            blob.unlink(missing_ok=True)

    def _snapshot(self, model: str, *, is_offline: bool) -> Path:
        hub = importlib.import_module("huggingface_hub")  # 0.3 s
        return Path(
            hub.snapshot_download(
                model,
                endpoint=self.endpoint,
                cache_dir=self._cache_dir,
                token=self._token or False,
                local_files_only=is_offline,
                allow_patterns=list(self.wanted),
                ignore_patterns=list(self.unwanted),
                tqdm_class=_bounded_progress(self.max_bytes),
            )
        ).absolute()


def _bounded_progress(max_bytes: int) -> Any:
    """Return a class of progress bars that ends a download of more than so many bytes.

    Raising in its `update` is the one way to stop `snapshot_download`: it is called, in the thread
    of the download, for what came and for what is written.
    """
    base: Any = importlib.import_module("huggingface_hub.utils").tqdm
    come_bytes: dict[int, int] = {}  # by bar, of those that count bytes

    def begin(bar: Any, *args: Any, **options: Any) -> None:
        if options.get("unit") == "B":
            come_bytes[id(bar)] = 0
        base.__init__(bar, *args, **options)

    def update(bar: Any, n: float | None = 1) -> Any:
        if id(bar) in come_bytes:
            come_bytes[id(bar)] += int(n or 0)
            if come_bytes[id(bar)] > max_bytes:
                raise TooLargeError(come_bytes[id(bar)], max_bytes)
        return base.update(bar, n)

    return type("BoundedProgress", (base,), {"__init__": begin, "update": update})
