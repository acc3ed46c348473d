"""The search for a model's files, in a thread that does not keep the interpreter from ending."""

import asyncio
import functools
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from aletheia.adapters.local.source import HuggingFaceHub, ModelFiles, find_model, packaged_copy
from aletheia.errors import ModelUnavailable

Find: TypeAlias = Callable[[str], ModelFiles]
"""Finds a model's files by full name; blocking; raises `ModelUnavailable`."""

Found: TypeAlias = tuple[ModelFiles, int] | ModelUnavailable
"""A model's files and the size of its weights in bytes, or why there are none."""


def usual_find(model_dir: Path | None, default_model: str) -> Find:
    """Return a search of all sources of SPEC §2, the public hub the last of them."""
    return lambda model: find_model(
        model,
        hub=HuggingFaceHub(),
        model_dir=model_dir,
        is_default=model == default_model,
        packaged=packaged_copy(),
    )


def start_search(find: Find, model: str) -> "asyncio.Future[Found]":
    """Start a search for a model; its future gets what was found, and never an exception."""
    return in_thread(functools.partial(look_for, find, model))


def look_for(find: Find, model: str) -> Found:
    """Look for a model; whatever stands in the way is a reason why there is none."""
    try:
        files = find(model)
        return files, weights_bytes(files.path)
    except ModelUnavailable as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever stands in the way, there is no model
        return ModelUnavailable(model, f"looking for it failed: {error!r}")


def in_thread(work: Callable[[], Found]) -> "asyncio.Future[Found]":
    """Run blocking work in a daemon thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()

    def settle(result: Found) -> None:
        if not future.done():
            future.set_result(result)

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, daemon=True, name="model-search").start()
    return future


def weights_bytes(directory: Path) -> int:
    """Return the size of a model's weights on disk."""
    return sum(file.stat().st_size for file in directory.rglob("*.safetensors"))
