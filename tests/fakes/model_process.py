"""Stands in for `python -m aletheia.adapters.local.worker`: no model, but faults on demand.

The last part of a path decides how its load ends: `refused`, `deadly`, `endless`, `babbling`;
`once` loads the first time only; anything else works, and `takes-N` brings N bytes of memory. Where
the path's parent is a directory, loads and unloads are written down in its `log`. Some texts bring
faults with them, see `embed` and `stumble`. A vector is `(1, length of the text, number of texts in
the batch)`.
"""

import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from aletheia.adapters.local.wire import Header, pack_frame, serve, unpack_texts

FOREVER_S = 3600


loaded: dict[str, Path] = {}


def write_down(what: str, model: str) -> None:
    directory = loaded[model].parent
    if directory.is_dir():
        with (directory / "log").open("a") as log:
            log.write(f"{what} {model}\n")


def load(model: str, path: Path) -> bytes:
    loaded[model] = path
    write_down("load", model)
    match path.name:
        case "refused":
            return pack_frame({"op": "failed", "reason": "ValueError: no such architecture"})
        case "once" if (path.parent / "log").read_text().count("load ") > 1:
            return pack_frame({"op": "failed", "reason": "FileNotFoundError: it is gone"})
        case "deadly":
            sys.exit("cannot allocate memory")
        case "endless":
            time.sleep(FOREVER_S)
        case "babbling":
            return b"Loading weights: 100%"
        case _:
            pass
    return pack_frame(
        {
            "op": "loaded",
            "dimensions": 3,
            "kernels": ["stand-in"],
            "load_s": 0.5,
            "memory_bytes": int(path.name.removeprefix("takes-")) if "takes-" in path.name else 0,
        }
    )


def unload(model: str) -> bytes:
    write_down("unload", model)
    del loaded[model]
    return pack_frame({"op": "unloaded"})


def embed(texts: Sequence[str]) -> bytes:
    if "short-answer" in texts:
        return pack_frame({"op": "embedded", "tokens": []})
    vectors: list[list[float]] = []
    failed: list[tuple[int, str, str, str]] = []
    for index, text in enumerate(texts):
        stumble(text)
        vector = [1.0, float(len(text)), float(len(texts))]
        match text:
            case "zero":
                vector = [0.0, 0.0, 0.0]
            case "nan":
                vector[1] = float("nan")
            case "wide":
                vector.append(0.0)
            case "unreadable":
                failed.append((index, "InvalidTask", "unreadable_text", "it is not text"))
                continue
            case _:
                pass
        vectors.append(vector)
    return pack_frame(
        {
            "op": "embedded",
            "tokens": [len(text.split()) for text in texts],
            "truncated": [index for index, text in enumerate(texts) if len(text.split()) > 8],
            "failed": failed,
        },
        b"".join(struct.pack(f"<{len(vector)}f", *vector) for vector in vectors),
    )


def stumble(text: str) -> None:
    match text.split():
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["die-once", flag] if not Path(flag).exists():
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case ["hang"]:
            time.sleep(FOREVER_S)
        case ["slow", *_]:
            time.sleep(0.05)
        case _:
            pass


def answer(header: Header, body: bytes) -> bytes:
    if header["op"] == "load":
        return load(header["model"], Path(header["path"]))
    if header["op"] == "unload":
        return unload(header["model"])
    return embed(unpack_texts(header["lengths"], body))


def main() -> None:
    answers, _threads = sys.argv[1:]
    serve(sys.stdin.fileno(), int(answers), answer)


if __name__ == "__main__":
    main()
