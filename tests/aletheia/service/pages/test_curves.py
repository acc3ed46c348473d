"""Curves as SVG."""

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from aletheia.service.pages.curves import HEIGHT, MAX_POINTS, WIDTH, draw_curve

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def points(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'points="([^"]*)"', svg)
    return (
        [(float(x), float(y)) for x, y in (p.split(",") for p in found[1].split())] if found else []
    )


@given(st.lists(NUMBERS, max_size=2 * MAX_POINTS), st.none() | NUMBERS)
def test_a_curve_is_well_formed_and_stays_inside(values: list[float], threshold: float | None):
    svg = draw_curve(values, threshold=threshold)
    ET.fromstring(svg)
    found = points(svg)
    assert len(found) == min(len(values), MAX_POINTS)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)


def test_a_better_score_is_higher_up_and_later_further_right():
    (x1, y1), (x2, y2) = points(draw_curve([20, 80]))
    assert x1 < x2
    assert y1 > y2


def test_a_curve_says_what_it_shows():
    assert 'aria-label="scores from 40 to 55 in 2 steps, to reach 80"' in draw_curve(
        [40, 55], threshold=80
    )
    assert "no score so far" in draw_curve([])
