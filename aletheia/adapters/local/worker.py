"""The process that runs local models, `python -m aletheia.adapters.local.worker ANSWERS THREADS`.

Requests come in on stdin, answers go out on the file descriptor ANSWERS.
"""

import ctypes
import gc
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging as transformers_logging

from aletheia.adapters.children.limits import resident_bytes
from aletheia.adapters.local.devices import choose_device, device_bytes
from aletheia.adapters.local.model import LocalModel
from aletheia.adapters.local.wire import Header, pack_frame, serve, unpack_texts

log = logging.getLogger(__name__)


def _load(models: dict[str, LocalModel], header: Header) -> bytes:
    started, before = time.monotonic(), resident_bytes()
    try:
        precision = header.get("precision", "float32")
        device = choose_device(header.get("device", "auto"), precision)
        model = LocalModel.load(
            Path(header["path"]), header["long_text"], device=device, precision=precision
        )
        models[header["model"]] = model
    except Exception as error:
        log.exception("loading %s failed", header["path"])
        return pack_frame({"op": "failed", "reason": f"{type(error).__name__}: {error}"[:1000]})
    return pack_frame(
        {
            "op": "loaded",
            "dimensions": model.dimensions,
            "kernels": model.kernels,
            "load_s": time.monotonic() - started,
            "memory_bytes": max(0, resident_bytes() - before) + device_bytes(device),
            "device": device,
            "loss": None if model.loss is None else asdict(model.loss),
        }
    )


def unload(models: dict[str, LocalModel], header: Header) -> bytes:
    """Unload a model, and return its memory to the system where the C library can do that."""
    model = models.pop(header["model"], None)
    if model is not None:
        model.release()
        del model
    gc.collect()  # a model holds references to itself
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return pack_frame({"op": "unloaded"})


def _embed(models: dict[str, LocalModel], header: Header, body: bytes) -> bytes:
    answer = models[header["model"]].embed(unpack_texts(header["lengths"], body))
    good = [index for index in range(len(answer.tokens)) if index not in answer.failed]
    return pack_frame(
        {
            "op": "embedded",
            "tokens": answer.tokens,
            "truncated": answer.truncated,
            "failed": [
                (index, type(error).__name__, error.code, str(error)[:1000])
                for index, error in answer.failed.items()
            ],
        },
        np.ascontiguousarray(answer.vectors[good], "<f4").tobytes(),
    )


def main(arguments: Sequence[str]) -> None:
    """Serve on stdin and the given file descriptor with the given number of threads."""
    answers, threads = arguments
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(int(threads))
    models: dict[str, LocalModel] = {}

    def answer(header: Header, body: bytes) -> bytes:
        match header["op"]:
            case "load":
                return _load(models, header)
            case "unload":
                return unload(models, header)
            case _:
                return _embed(models, header, body)

    serve(sys.stdin.fileno(), int(answers), answer)


if __name__ == "__main__":
    main(sys.argv[1:])
