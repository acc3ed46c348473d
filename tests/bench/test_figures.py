"""What a bench makes of its measurements."""

import pytest

from bench.figures import UPSTREAM, Figures, Goal, Measurement

GOAL = Goal("vs_raw", "short", "raw", must=0.85, aim=1.0)


def measured(contender: str, *seconds: float, corpus: str = "short") -> list[Measurement]:
    return [
        Measurement(contender, corpus, 100, took_s, {contender: 1.0, UPSTREAM: 0.1}, others=0.02)
        for took_s in seconds
    ]


def test_a_figure_is_the_ratio_of_the_medians_of_texts_a_second():
    figures = Figures([*measured("pipeline", 1.0, 2.0, 50.0), *measured("raw", 4.0, 1.0, 90.0)])
    assert figures.ratio(GOAL) == pytest.approx(2.0)


def test_rounds_of_another_corpus_do_not_count():
    figures = Figures(
        [
            *measured("pipeline", 1.0),
            *measured("raw", 1.0),
            *measured("pipeline", 9.0, corpus="long"),
        ]
    )
    assert figures.ratio(GOAL) == pytest.approx(1.0)


def test_a_contender_that_did_not_run_leaves_its_figure_open():
    found = Figures(measured("pipeline", 1.0)).to_json([GOAL])
    assert found["vs_raw"] is None
    assert found["missed"] == []


@pytest.mark.parametrize(
    ("raw_s", "missed"),
    [
        pytest.param(0.85, [], id="exactly what was promised"),
        pytest.param(0.84, ["vs_raw"], id="less"),
    ],
)
def test_a_figure_below_what_was_promised_is_named(raw_s: float, missed: list[str]):
    figures = Figures([*measured("pipeline", 1.0), *measured("raw", raw_s)])
    assert figures.to_json([GOAL])["missed"] == missed


def test_cpu_time_is_reported_by_what_used_it_a_text():
    figures = Figures(measured("pipeline", 1.0, 2.0))
    assert figures.cpu("short", "pipeline") == pytest.approx({"pipeline": 10.0, UPSTREAM: 1.0})
