import pytest

from aletheia.adapters.embedding.remote import pack


@pytest.mark.parametrize(
    ("tokens", "groups"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([10], [[0]], id="exactly the tokens of a request"),
        pytest.param([11], [[0]], id="one text that has more on its own"),
        pytest.param([11, 1], [[0], [1]], id="such a text stays alone"),
        pytest.param([4, 6, 1], [[0, 1], [2]], id="one token over"),
        pytest.param([1, 1, 1], [[0, 1, 2]], id="exactly the texts of a request"),
        pytest.param([1, 1, 1, 1], [[0, 1, 2], [3]], id="one text over"),
        pytest.param([0, 0, 0, 0], [[0, 1, 2], [3]], id="texts without tokens"),
        pytest.param([6, 6, 4, 6], [[0], [1, 2], [3]], id="in order"),
    ],
)
def test_requests_are_filled_up_to_their_limits(tokens: list[int], groups: list[list[int]]) -> None:
    assert pack(tokens, max_inputs=3, max_tokens=10) == groups
