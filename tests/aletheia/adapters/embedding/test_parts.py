import numpy as np
import pytest

from aletheia.adapters.embedding.parts import find_fault, halve, read_vector, share


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (10, [1, 1], [5, 5]),
        (11, [1, 1], [6, 5]),
        (7, [1, 2, 4], [1, 2, 4]),
        (3, [0, 0], [2, 1]),
        (0, [3, 4], [0, 0]),
        (5, [0, 1], [0, 5]),
        (10**18 + 1, [1], [10**18 + 1]),
    ],
)
def test_shares_add_up_to_the_whole(total: int, weights: list[int], shares: list[int]) -> None:
    assert share(total, weights) == shares


@pytest.mark.parametrize(
    ("text", "halves"),
    [
        ("ab", ("a", "b")),
        ("one two big fours", ("one two big", " fours")),
        ("  ab cd  ", ("ab", " cd")),
        ("x" * 9, ("x" * 4, "x" * 5)),
        ("😀😀", ("😀", "😀")),
        ("a", None),
        (" ", None),
        ("", None),
    ],
)
def test_a_text_is_halved_between_words(text: str, halves: tuple[str, str] | None) -> None:
    assert halve(text) == halves


def test_halves_say_what_the_text_says() -> None:
    text = "The rain in Spain stays mainly in the plain. " * 50
    left, right = halve(text) or ("", "")
    assert left + right == text.strip()
    assert abs(len(left) - len(right)) < len(text) / 4


def test_a_vector_is_read_as_float32() -> None:
    vector = read_vector([1, 0.5, 1e300, 10**30])
    assert vector.dtype == np.float32
    assert vector.tolist() == [1, 0.5, np.inf, pytest.approx(1e30)]
    assert np.isnan(read_vector([1.0, None])).tolist() == [False, True]


@pytest.mark.parametrize(
    "numbers",
    [None, "AAAA", {}, 1.5, ["a"], ["1.5"], [True], [[1.0]], [1, [2]], [1, {}], [10**400]],
)
def test_a_vector_is_a_list_of_numbers(numbers: object) -> None:
    with pytest.raises(ValueError, match="a vector"):
        read_vector(numbers)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty_text"),
        (" \n", "empty_text"),
        ("a\ud800b", "invalid_text"),
        ("x" * 10, None),
        ("x" * 11, "input_too_long"),
        ("ü" * 6, "input_too_long"),
    ],
)
def test_some_texts_are_refused_unread(text: str, code: str | None) -> None:
    fault = find_fault(text, max_bytes=10)
    assert (fault.code if fault else None) == code
