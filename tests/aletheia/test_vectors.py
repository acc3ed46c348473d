"""What the matrix of vectors finds, grows to and forgets."""

import sys
import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia import vectors as vectors_module
from aletheia.vectors import VectorMatrix, measure_bytes


def matrix_of(*vectors: list[float]) -> VectorMatrix:
    matrix = VectorMatrix(len(vectors[0]))
    rows = np.array(vectors, np.float32)
    matrix.append(rows, np.linalg.norm(rows.astype(np.float64), axis=1))
    return matrix


def candidates(
    matrix: VectorMatrix, *query: float, min_cosine: float = 0.5, limit: int = 10
) -> list[int]:
    (rows,) = matrix.find_candidates(np.array([query], np.float32), min_cosine, limit)
    return sorted(rows.tolist())


def test_candidates_are_those_that_may_reach_the_bound():
    matrix = matrix_of([1, 0], [8, 6], [0.6, 0.8], [0, 1])
    assert candidates(matrix, 1, 0) == [0, 1, 2]
    assert candidates(matrix, 1, 0, min_cosine=0.6000001) == [0, 1, 2], "decided in float64"
    assert candidates(matrix, 1, 0, min_cosine=0.61) == [0, 1]


def test_without_any_the_nearest_row_is_named():
    assert candidates(matrix_of([0, 1], [0.1, 1]), 1, 0) == [1]
    assert candidates(VectorMatrix(2), 1, 0) == []


def test_of_many_the_nearest_are_named_and_all_that_are_as_near_as_the_last():
    matrix = matrix_of([0.6, 0.8], [1, 0], [0.8, 0.6], [0.8, -0.6], [0, 1])
    assert candidates(matrix, 1, 0, limit=1) == [1]
    assert candidates(matrix, 1, 0, limit=2) == [1, 2, 3]


def test_a_row_that_is_left_out_is_no_candidate():
    matrix = matrix_of([1, 0], [0.8, 0.6])
    queries = np.array([[1, 0], [1, 0]], np.float32)
    first, second = matrix.find_candidates(queries, -1.0, 10, without=[0, 1])
    assert (first.tolist(), second.tolist()) == ([1], [0])
    (nothing,) = matrix_of([1, 0]).find_candidates(queries[:1], -1.0, 10, without=[0])
    assert nothing.tolist() == []


def test_a_gap_is_found_no_more_and_the_others_keep_their_rows():
    matrix = matrix_of([1, 0], [-1, 0])
    matrix.clear(0)
    assert candidates(matrix, 1, 0) == [1]
    matrix.clear(1)
    assert candidates(matrix, 1, 0) == []
    matrix.append(np.array([[0.6, 0.8]], np.float32))
    assert candidates(matrix, 1, 0) == [2]


def test_it_grows_and_keeps_what_it_has():
    vectors: NDArray[np.float32] = np.random.default_rng(1).standard_normal((9000, 3), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    matrix = VectorMatrix(3)
    before = matrix.capacity
    for start in range(0, 9000, 70):
        matrix.append(vectors[start : start + 70])
    matrix.replace([17], vectors[:1])
    vectors[17] = vectors[0]
    assert matrix.capacity > before
    assert np.array_equal(matrix.vectors_of(range(9000)), vectors)
    assert matrix.norm(8999) == 1


@pytest.mark.parametrize("queries", [1, 3, 16, 17, 70])
def test_each_query_is_compared_with_every_row(queries: int):
    vectors: NDArray[np.float32] = np.random.default_rng(2).standard_normal((9001, 48), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    matrix = VectorMatrix(48)
    matrix.append(vectors)
    asked = [place * 9000 // queries for place in range(1, queries + 1)]
    found = matrix.find_candidates(vectors[asked], 0.999, 10)
    assert [rows.tolist() for rows in found] == [[row] for row in asked]


def make_vectors(kind: str, n: int, d: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Make vectors without a pattern, or such as 8 bits a number describe badly."""
    vectors: NDArray[np.float32] = random.standard_normal((n, d), np.float32)
    match kind:
        case "in heaps":
            vectors[:] = vectors[np.arange(n) // 20] + 1e-3 * vectors
        case "with a number that outweighs all others":
            vectors[:, 0] *= 50
        case "with few numbers":
            vectors[:, 1:] *= random.random((n, d - 1)) < 0.1
        case "of any length":
            vectors *= (10.0 ** random.uniform(-6, 6, (n, 1))).astype(np.float32)
        case _:
            pass
    return vectors


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("min_cosine", [-1.0, 0.2, 0.9, 0.9999])
@pytest.mark.parametrize(
    "kind",
    [
        "without a pattern",
        "in heaps",
        "with a number that outweighs all others",
        "with few numbers",
        "of any length",
    ],
)
def test_codes_rule_out_nothing_that_may_be_near(
    kind: str, min_cosine: float, seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vectors_module, "_CODED_ROWS", 64)
    random, limit = np.random.default_rng(seed), [1, 6, 50, 1000][seed]
    vectors = make_vectors(kind, 500, [7, 48, 130, 384][seed], random)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    matrix = VectorMatrix(vectors.shape[1])
    queries = vectors[:5] / lengths[:5, np.newaxis].astype(np.float32)
    queries[1:] += random.standard_normal(queries[1:].shape, np.float32) / 20
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for start in range(0, 500, 70):
        matrix.append(vectors[start : start + 70], lengths[start : start + 70])
        list(matrix.find_candidates(queries, 0.5, 3))
    matrix.clear(3)
    without = [0, 1, 2, 2, 4]
    cosines = queries.astype(np.float64) @ (vectors / lengths[:, np.newaxis]).T
    cosines[:, 3] = cosines[range(5), without] = -np.inf
    found = list(matrix.find_candidates(queries, min_cosine, limit, without=without))
    for row_cosines, rows in zip(cosines, found, strict=True):
        reached = np.flatnonzero(row_cosines >= min_cosine)
        if len(reached) > limit:
            reached = reached[row_cosines[reached] >= np.sort(row_cosines[reached])[-limit]]
        assert set(reached.tolist()) <= set(rows.tolist())
        assert np.isfinite(row_cosines[rows]).all()
        # In float32 one that is hardly farther may come before the nearest.
        assert row_cosines[rows].max() >= row_cosines.max() - 1e-4


def test_a_vector_that_was_replaced_is_found_by_its_new_code(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vectors_module, "_CODED_ROWS", 4)
    matrix = VectorMatrix(2)
    matrix.append(np.array([[1, 0]] * 9, np.float32))
    queries = np.array([[0, 1], [1, 0]], np.float32)
    for _ in range(3):
        assert len(next(iter(matrix.find_candidates(queries, 0.9, 20)))) == 1
    matrix.replace([5], queries[:1])
    for _ in range(3):
        found, others = matrix.find_candidates(queries, 0.9, 20)
        assert (found.tolist(), sorted(others)) == ([5], [0, 1, 2, 3, 4, 6, 7, 8])


def test_codes_take_a_quarter_of_what_the_vectors_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vectors_module, "_CODED_ROWS", 64)
    matrix = VectorMatrix(384)
    matrix.append(np.eye(128, 384, dtype=np.float32))
    before = matrix.bytes
    list(matrix.find_candidates(np.eye(2, 384, dtype=np.float32), 0.5, 3))
    assert matrix.bytes - before == 64 * (384 + 8)


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_its_size_is_known_before_it_is_made(rows: int):
    assert VectorMatrix(7, rows).bytes == measure_bytes(rows, 7)


def test_several_queries_do_not_wait_for_another_thread_at_each_block():
    vectors: NDArray[np.float32] = np.random.default_rng(3).standard_normal(
        (40_000, 384), np.float32
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    matrix = VectorMatrix(384)
    matrix.append(vectors)
    is_done = threading.Event()

    def compute() -> None:
        while not is_done.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    began = time.perf_counter()
    try:
        found = list(matrix.find_candidates(vectors[:8], 0.9, 10))
    finally:
        took_s = time.perf_counter() - began
        is_done.set()
        thread.join()
    assert [rows.tolist() for rows in found] == [[row] for row in range(8)]
    # 470 blocks, each of which would give the thread its turn of a switch interval.
    assert took_s < 200 * sys.getswitchinterval()
