"""The model alone, as its documentation shows it: `encode` in batches of 32, two torch threads.

python -m bench.rivals.raw MODEL_DIR
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bench.corpora import read_texts
from bench.programs import Message, answer_requests, say

BATCH = 32
THREADS = 2


def main(model_dir: str) -> None:
    """Embed the corpora that are asked for, and time it."""
    torch.set_num_threads(THREADS)
    model: Any = SentenceTransformer(model_dir, device="cpu", local_files_only=True)

    def embed(request: Message) -> Message:
        texts = read_texts(Path(request["corpus"]))
        began = time.perf_counter()
        vectors = model.encode(texts, batch_size=BATCH, show_progress_bar=False)
        seconds = time.perf_counter() - began
        np.save(Path(request["path"]), vectors)
        return {"seconds": seconds}

    say(ready=True)
    answer_requests(embed)


if __name__ == "__main__":
    main(sys.argv[1])
