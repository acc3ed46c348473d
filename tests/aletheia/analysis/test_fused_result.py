import pytest

from aletheia.analysis.fused_result import TextFindings, fuse_analysis, mean_confidence
from aletheia.analysis.fusion import Fusion


def findings(confidence: float | None, contribution: float) -> TextFindings:
    return TextFindings(confidence=confidence, contribution=contribution)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([findings(0.9, 0.5), findings(0.5, 0.5)], 0.7),
        ([findings(0.9, 0.75), findings(0.5, 0.25)], 0.8),
        ([findings(0.9, 0.5), findings(None, 0.5)], 0.9),
        ([findings(0.9, 0.0), findings(0.5, 1.0)], 0.5),
        ([findings(0.9, 0.0)], None),
        ([], None),
    ],
)
def test_what_contributed_nothing_says_nothing(found: list[TextFindings], expected: float | None):
    mean = mean_confidence(found)
    assert mean == (None if expected is None else pytest.approx(expected))


def test_where_nothing_is_said_there_is_nothing_to_fuse():
    analysis = fuse_analysis(Fusion([], []), [])
    assert (analysis.summary, analysis.sentences, analysis.provider) == ("", [], "rules")
