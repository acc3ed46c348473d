"""How dropped duplicates are shown on the command line."""

from datetime import UTC, datetime

import pytest

from aletheia.items.content import SavedItem
from aletheia.items.decisions import KeptDecision
from aletheia.items.dedup import Decision
from deployments.console import console
from deployments.decisions import tabulate
from tests.deployments.printing import printed

WORD = "https://a.example/" + "x" * 90
DROPPED = KeptDecision(
    *("0123456789ab", "run-1", 0, "support-of-riders-and-dispatchers", "Support", 10, 1, 0),
    datetime(2026, 1, 1, tzinfo=UTC),
    Decision("i", False, "near_exact", "m", "the same text", "a", True, 1.0),
    SavedItem("i", f"[red] {WORD}"),
    undone_by="an-operator-with-a-long-name",
)


@pytest.mark.parametrize("width", [80, 120, 300])
def test_no_word_of_the_table_is_cut(width: int):
    matches = {"a": SavedItem("a", WORD)}
    shown = printed(lambda: console.print(tabulate([DROPPED], matches)), width)
    assert "0123456789ab" in shown
    assert "…" not in shown
    assert shown.count("x") >= 2 * WORD.count("x")
    if width == 300:
        assert "[red]" in shown


def test_a_long_text_without_blanks_is_shown_as_far_as_it_fits():
    shown = printed(
        lambda: console.print(tabulate([DROPPED], {"a": SavedItem("a", "字" * 200)})), 900
    )
    assert f"{'字' * 160}…" in shown
    assert "字" * 161 not in shown
