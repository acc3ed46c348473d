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
    """Read the answer to a batch, and check every vector.

    Args:
        header: as `aletheia.adapters.local.wire` describes it.
        body: the vectors, float32, one after another.
        texts: how many were asked for.
        dimensions: of the model.

    Returns:
        An embedding or a fault for each text, in order.

    Raises:
        KeyError, TypeError, ValueError: it is not an answer to this batch.
    """
    tokens = cast("list[int]", header["tokens"])
    if len(tokens) != texts:
        raise ValueError(f"{len(tokens)} answers for {texts} texts")
    failed = {
        int(index): _read_error(kind, code, message)
        for index, kind, code, message in header["failed"]
    }
    truncated = set(cast("list[int]", header["truncated"]))
    good = texts - len(failed)
    numbers: NDArray[np.float32] = np.frombuffer(body, np.float32)
    vectors = numbers.reshape(good, len(numbers) // good if good else dimensions)
    if vectors.shape[1] == dimensions:
        is_sound = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        fault = "it is zero, or not all of it is a finite number"
    else:
        is_sound = np.zeros(good, np.bool_)
        fault = f"it has {vectors.shape[1]} dimensions instead of {dimensions}"
    rows = iter(zip(vectors, cast("list[bool]", is_sound.tolist()), strict=True))
    answers: list[Embedding | AletheiaError] = []
    for index in range(texts):
        if index in failed:
            answers.append(failed[index])
            continue
        vector, sound = next(rows)
        answers.append(
            Embedding(vector, tokens[index], index in truncated)
            if sound
            else ComputeFailed("bad_vector", f"the model's answer is not a vector: {fault}")
        )
    return answers


def _read_error(kind: str, code: str, message: str) -> AletheiaError:
    return (InvalidTask if kind == "InvalidTask" else ComputeFailed)(code, message)
