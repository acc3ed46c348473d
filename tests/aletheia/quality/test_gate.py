import json
import random
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.quality.gate import (
    COUNTED_DEVIATION,
    MARGIN,
    MAX_SHIFT,
    JudgeState,
    Opinion,
    estimate_quality,
    make_opinion,
    measure_overlap,
    sketch_items,
)
from aletheia.quality.rating import QualityItem
from aletheia.quality.scores import PARTS, PartScore, Quality

ITEMS = [QualityItem(f"i{n}", "text") for n in range(12)]
SKETCH = sketch_items(ITEMS)


def counted(score: float) -> Quality:
    return Quality({part: PartScore(score, {}) for part in PARTS}, len(ITEMS))


def opinion(shift: float, answers: int = 3, sketch: tuple[str, ...] = SKETCH) -> Opinion:
    return Opinion(answers, (shift,) * len(PARTS), sketch)


def test_without_answers_the_counted_score_stands_and_how_far_it_may_be_off_is_said() -> None:
    estimate = estimate_quality(counted(70), (), ITEMS)
    assert (estimate.mean, estimate.answers) == (70, 0)
    assert estimate.spread == COUNTED_DEVIATION
    assert estimate.bound < 65


def test_more_answers_are_trusted_more() -> None:
    means = [
        estimate_quality(counted(70), [opinion(20)] * rounds, ITEMS).mean for rounds in range(5)
    ]
    assert means == sorted(means)
    assert means[0] == 70 < means[1] < means[4] < 70 + MAX_SHIFT
    spreads = [
        estimate_quality(counted(70), [opinion(0)] * rounds, ITEMS).spread for rounds in range(5)
    ]
    assert spreads == sorted(spreads, reverse=True)


def test_rounds_that_differ_are_trusted_less_than_rounds_that_agree() -> None:
    agreeing = estimate_quality(counted(70), [opinion(10)] * 4, ITEMS)
    differing = estimate_quality(
        counted(70), [opinion(shift) for shift in (-20, 40, -20, 40)], ITEMS
    )
    assert differing.mean < agreeing.mean
    assert differing.spread > agreeing.spread


def test_opinions_fade_as_items_change_and_are_forgotten_with_them() -> None:
    grown = [*ITEMS, *(QualityItem(f"n{n}", "text") for n in range(12))]
    other = [QualityItem(f"o{n}", "text") for n in range(12)]
    fresh, faded, gone = (
        estimate_quality(counted(70), [opinion(20)], items) for items in (ITEMS, grown, other)
    )
    assert fresh.mean > faded.mean > gone.mean == 70
    assert gone.answers == 0


@given(
    st.floats(0, 100),
    st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 12)), max_size=12),
)
def test_judges_move_a_score_within_their_bound_and_the_scale(
    score: float, rounds: list[tuple[float, int]]
) -> None:
    opinions = [opinion(shift, answers) for shift, answers in rounds]
    estimate = estimate_quality(counted(score), opinions, ITEMS)
    assert abs(estimate.mean - score) <= MAX_SHIFT + 0.02
    assert 0 <= estimate.mean <= 100
    assert estimate.bound < estimate.mean


def test_a_round_is_one_opinion_whose_parts_are_bounded() -> None:
    votes = [dict.fromkeys(PARTS, 50.0), dict.fromkeys(PARTS, 70.0)]
    assert make_opinion(votes, counted(55), ITEMS) == opinion(5, 2)
    assert make_opinion([dict.fromkeys(PARTS, 100.0)], counted(0), ITEMS).shift == (40.0,) * 4


def test_a_bound_falls_with_every_further_round() -> None:
    bounds = [
        estimate_quality(counted(85), [opinion(0)] * rounds, ITEMS).bound for rounds in (1, 2, 4)
    ]
    assert bounds == sorted(bounds, reverse=True)


def test_what_is_far_above_is_assured_at_once_and_what_is_near_is_not() -> None:
    high = estimate_quality(counted(92), [opinion(0)], ITEMS)
    near = estimate_quality(counted(81), [opinion(0)], ITEMS)
    assert high.is_assured(80)
    assert high.bound > 80 - MARGIN
    assert not near.is_assured(80)
    assert not estimate_quality(counted(79), [opinion(0)], ITEMS).is_assured(80)


def test_sketches_tell_how_much_two_sets_have_in_common() -> None:
    many = [QualityItem(f"i{n}", "") for n in range(400)]
    half, other = many[:200], [QualityItem(f"o{n}", "") for n in range(400)]
    assert measure_overlap(sketch_items(many), sketch_items(many[::-1])) == 1
    assert measure_overlap(sketch_items(many), sketch_items(half)) == pytest.approx(0.5, abs=0.3)
    assert measure_overlap(sketch_items(many), sketch_items(other)) == 0
    assert 0 < measure_overlap((), sketch_items(many)) < 1


def test_a_state_survives_the_store() -> None:
    state = JudgeState(3).with_opinion(opinion(4)).with_opinion(opinion(-2, 1))
    assert JudgeState.from_document(**json.loads(json.dumps(asdict(state)))) == state
    assert (state.rounds, state.answers) == (5, 4)


def test_notes_of_earlier_versions_are_read() -> None:
    state = JudgeState.from_document(rounds=4, shifts=[[1.0, 2.0, 3.0, 4.0]])
    assert (state.rounds, state.answers) == (4, 1)
    estimate = estimate_quality(counted(70), state.opinions, ITEMS)
    assert 70 < estimate.mean < 72


Noise = Callable[[random.Random], Callable[[], float]]

NOISES: dict[str, Noise] = {
    "of each answer": lambda draw: lambda: sum(draw.gauss(0, 10) for _ in range(3)) / 3,
    "of a round": lambda draw: lambda: draw.gauss(0, 10),
    "of a run": lambda draw: partial(float, draw.gauss(0, 10)),
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize(("truth", "is_good"), [(75.0, False), (85.0, True)])
def test_four_rounds_decide_wrongly_in_one_run_of_fifty_at_most(
    noise: Noise, truth: float, is_good: bool
) -> None:
    draw = random.Random(3)
    wrong, runs = 0, 1000
    for _ in range(runs):
        error = noise(draw)
        opinions: list[Opinion] = []
        estimate = estimate_quality(counted(truth), opinions, ITEMS)
        for _ in range(4):
            opinions.append(opinion(error()))
            estimate = estimate_quality(counted(truth), opinions, ITEMS)
            if estimate.is_assured(80):
                break
        wrong += (estimate.mean >= 80) != is_good
    assert wrong / runs <= 0.025
