"""The fastest way found to run the model alone: our own pool of model processes, without HTTP.

    python -m bench.rivals.best_raw

The pool takes all texts in one call, so that the longest ones of a corpus go together.
"""

import contextlib
import sys
import time
from pathlib import Path

import numpy as np
import uvloop

from aletheia.adapters.local.embedder import LocalEmbedder
from aletheia.analysis.ports import Embedding
from aletheia.settings import EmbeddingSettings
from bench.corpora import DIMENSIONS, read_texts
from bench.programs import Message, answer_requests_async, say


async def main() -> None:
    """Embed the corpora that are asked for, and time it."""
    embedder = LocalEmbedder(EmbeddingSettings())
    model = embedder.canonical_model(None)

    async def embed(request: Message) -> Message:
        texts = read_texts(Path(request["corpus"]))
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        began = time.perf_counter()
        async for answers in embedder.embed(model, texts):
            for answer in answers:
                if not isinstance(answer.result, Embedding):
                    return {"failed": str(answer.result)}
                vectors[answer.index] = answer.result.vector
        seconds = time.perf_counter() - began
        np.save(Path(request["path"]), vectors)
        return {"seconds": seconds}

    await embedder.open()
    try:
        await embedder.load(model)
        say(ready=True, kernels=embedder.pool.processes[0].loaded[model].kernels)
        await answer_requests_async(embed)
    finally:
        await embedder.close()


if __name__ == "__main__":
    # What libraries log is no answer.
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
