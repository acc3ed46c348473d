"""Every prompt has a snapshot beside its tests, so that no word of it changes unseen."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMPTS = [
    path for path in sorted(ROOT.glob("aletheia/*/prompts/*.py")) if path.name != "__init__.py"
]


def test_there_are_prompts() -> None:
    assert len(PROMPTS) >= 4


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda path: path.stem)
def test_a_prompt_has_a_snapshot_that_a_test_reads(prompt: Path) -> None:
    area = ROOT / "tests" / prompt.parent.relative_to(ROOT)
    snapshot = area / f"{prompt.stem}.txt"
    assert snapshot.is_file()
    tests = [*area.glob("test_*.py"), *area.parent.glob("test_*.py")]
    assert any(snapshot.name in test.read_text("utf-8") for test in tests)
