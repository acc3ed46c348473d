import json
from datetime import UTC, datetime

import pytest

from aletheia.analysis.model_manager import ModelRow
from deployments.models import show_models
from tests.deployments.printing import printed

ROWS = [
    ModelRow("ollama", "all-minilm", "available", detail="supported, not pulled yet"),
    ModelRow(
        "ollama",
        "nomic-embed-text",
        "loaded",
        size_bytes=274_302_450,
        memory_bytes=565_000_000,
        load_s=1.25,
        last_used=datetime(2026, 11, 21, 12, 0, tzinfo=UTC),
        loads=2,
        evictions=1,
    ),
]


def show(rows: list[ModelRow], *, as_json: bool = False) -> str:
    return printed(lambda: show_models(rows, as_json=as_json))


def test_models_are_shown_with_their_figures():
    head, first, second = show(ROWS).splitlines()
    assert head.split()[:3] == ["provider", "model", "state"]
    assert first.split() == [
        *("ollama", "all-minilm", "available", "0", "0"),
        *("supported,", "not", "pulled", "yet"),
    ]
    assert "274 MB" in second
    assert "565 MB" in second
    assert "1.2 s" in second
    assert "2026-11-21 12:00 UTC" in second


def test_models_can_be_had_as_json():
    first, second = json.loads(show(ROWS, as_json=True))
    assert first["load_s"] is None
    assert (second["load_s"], second["last_used"]) == (1.25, "2026-11-21 12:00:00+00:00")


@pytest.mark.parametrize(
    ("rows", "said"),
    [([], "There are no models."), ([ModelRow("local", "m", "installed")], "the last one wrote")],
)
def test_what_is_known_of_models_is_said(rows: list[ModelRow], said: str):
    assert said in " ".join(show(rows).split())


def test_the_name_of_a_model_is_neither_markup_nor_a_sequence():
    shown = show([ModelRow("ollama", "[link=https://e.example]x[/link]\x1b[2J", "available")])
    assert "[link=https://e.example]x[/link]␛[2J" in shown
    assert "\x1b" not in shown
