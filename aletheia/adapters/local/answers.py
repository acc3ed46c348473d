"""The answer of a model process to a batch, read and checked."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.local.wire import Header
from aletheia.analysis.ports import Embedding
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask


def read_vectors(
    header: Header, body: bytes, texts: int, dimensions: int
) -> list[Embedding | AletheiaError]:
    """Return an embedding or a fault for each text, in order; `ValueError` and the like if none."""
    tokens = cast("list[int]", header["tokens"])
    if len(tokens) != texts:
        raise ValueError(f"{len(tokens)} answers for {texts} texts")
    failed = {
        int(index): (InvalidTask if kind == "InvalidTask" else ComputeFailed)(code, message)
        for index, kind, code, message in header["failed"]
    }
    truncated = set(cast("list[int]", header["truncated"]))
    good = texts - len(failed)
    numbers: NDArray[np.float32] = np.frombuffer(body, np.float32)
    vectors = iter(numbers.reshape(good, len(numbers) // good if good else 0))
    answers: list[Embedding | AletheiaError] = []
    for index in range(texts):
        if index in failed:
            answers.append(failed[index])
        elif fault := _fault_of(vector := next(vectors), dimensions):
            message = f"the model's answer is not a vector: {fault}"
            answers.append(ComputeFailed("bad_vector", message))
        else:
            answers.append(Embedding(vector, tokens[index], index in truncated))
    return answers


def _fault_of(vector: NDArray[np.float32], dimensions: int) -> str | None:
    if len(vector) != dimensions:
        return f"it has {len(vector)} dimensions instead of {dimensions}"
    if not np.isfinite(vector).all() or not vector.any():
        return "it is zero, or not all of it is a finite number"
    return None
