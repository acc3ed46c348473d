"""What media at work cost the embeddings beside them, each in processes of its own.

`python -m bench.workers.media SECONDS` is such work: recordings and documents as a lane's worker
has them decoded, one after another, in a child.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import numpy as np
import psutil

from aletheia.adapters.children.pool import Children
from aletheia.adapters.decoding.reader import ChildReader
from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.ports import FetchedFile
from aletheia.errors import AletheiaError
from aletheia.settings import EmbeddingSettings
from bench.programs import BenchFailed
from tests.fakes.samples import make_pdf, sentences

MEDIA_S: Final = 1200.0
"""Twenty minutes of media, which is more than the rounds take."""

ROUNDS: Final = 6
ROUND_S: Final = 10.0
PAUSE_S: Final = 0.05
"""Between one embedding and the next, so that each one finds the processors as they are."""

PAGES: Final = 400
WARM_UP_S: Final = 3.0


async def measure_media() -> dict[str, float]:
    """Return the 95th percentile of an embedding's latency, alone and beside media, in turns."""
    embedder = LocalEmbedder(EmbeddingSettings())
    await embedder.open()
    try:
        await embedder.load(embedder.canonical_model(None))
        async with media_at_work() as media:
            alone: list[float] = []
            beside: list[float] = []
            for number in range(2 * ROUNDS):
                is_quiet = number % 2 == 0
                _switch(media, is_quiet=is_quiet)
                await asyncio.sleep(WARM_UP_S if number < 2 else 0)
                (alone if is_quiet else beside).extend(await _measure_round(embedder))
            _switch(media, is_quiet=False)
    finally:
        await embedder.close()
    first, second = (float(np.percentile(found, 95)) for found in (alone, beside))
    return {
        "embedding_p95_alone_ms": 1000 * first,
        "embedding_p95_beside_ms": 1000 * second,
        "embedding_p95_with_media": second / first,
    }


@contextlib.asynccontextmanager
async def media_at_work() -> AsyncGenerator[psutil.Process]:
    """Run a worker with media until the end of the context."""
    command = (sys.executable, "-m", "bench.workers.media", str(MEDIA_S))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        if await process.stdout.readline() != b"at work\n":
            raise BenchFailed("the worker with media did not begin")
        yield psutil.Process(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _switch(worker: psutil.Process, *, is_quiet: bool) -> None:
    """Suspend a worker and its children where they are, or resume them."""
    for process in (worker, *worker.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            if is_quiet:
                process.suspend()
            else:
                process.resume()


async def _measure_round(embedder: LocalEmbedder) -> list[float]:
    model, ends_at = embedder.canonical_model(None), time.perf_counter() + ROUND_S
    found: list[float] = []
    while time.perf_counter() < ends_at:
        text = sentences(2, len(found))
        began = time.perf_counter()
        async with aclosing(embedder.embed(model, [text])) as answers:
            async for answered in answers:
                if any(isinstance(answer.result, AletheiaError) for answer in answered):
                    raise BenchFailed(f"an embedding failed: {answered}")
        found.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE_S)
    return found


async def work(seconds: float) -> None:
    """Decode long documents, one after another, in one child, as a lane's worker does."""
    data = make_pdf([sentences(30, number * 30) for number in range(PAGES)])
    children = Children(DecoderSettings().decoder_memory_max)
    await children.open()
    reader, ends_at = (
        ChildReader(children, DecoderSettings(), wall_s=300),
        time.monotonic() + seconds,
    )
    is_begun = False
    try:
        with tempfile.TemporaryFile() as opened:
            opened.write(data)
            opened.flush()
            file = FetchedFile(opened.fileno(), len(data), "", "pdf", "a report")
            while time.monotonic() < ends_at:
                async with aclosing(reader.read(file, "pdf")) as pieces:
                    async for _ in pieces:
                        if not is_begun:
                            is_begun = True
                            print("at work", flush=True)
    finally:
        await children.close()


def main(arguments: Sequence[str]) -> None:
    """Be a worker with media for so many seconds."""
    asyncio.run(work(float(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
