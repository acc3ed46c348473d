"""No word that a model reads changes unseen.

Every prompt has a snapshot beside its tests, and so has the form of its answer, whose names and
descriptions reach the model with it. Words that a prompt chooses from, such as its points of view,
have one in its tests.
"""

import ast
import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("aletheia", "flows", "tasks", "blocks", "deployments")
PROMPTS = [
    path for path in sorted(ROOT.glob("aletheia/*/prompts/*.py")) if path.name != "__init__.py"
]
ELSEWHERE = {
    # Asks for the form in words where a server enforces none; tests/…/openai/test_chat.py has it.
    "aletheia/adapters/openai/chat.py",
}
"""Files outside of `prompts/` that write messages, each with the test that holds their words."""


def area_of(prompt: Path) -> Path:
    return ROOT / "tests" / prompt.parent.relative_to(ROOT)


def test_there_are_prompts() -> None:
    assert len(PROMPTS) >= 4


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda path: path.stem)
def test_a_prompt_has_a_snapshot_that_a_test_reads(prompt: Path) -> None:
    area = area_of(prompt)
    snapshot = area / f"{prompt.stem}.txt"
    assert snapshot.is_file()
    tests = [*area.glob("test_*.py"), *area.parent.glob("test_*.py")]
    assert any(snapshot.name in test.read_text("utf-8") for test in tests)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda path: path.stem)
def test_the_form_of_an_answer_is_as_it_was(prompt: Path) -> None:
    name = ".".join(prompt.relative_to(ROOT).with_suffix("").parts)
    form = importlib.import_module(name).FORM
    written = json.dumps({"name": form.name, "schema": form.schema}, indent=2, ensure_ascii=False)
    assert written + "\n" == (area_of(prompt) / f"{prompt.stem}.form.json").read_text("utf-8")


def writes_messages(file: Path) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Message"
        for node in ast.walk(ast.parse(file.read_bytes()))
    )


def test_messages_to_models_are_written_among_the_prompts() -> None:
    files = [file for folder in PRODUCT for file in (ROOT / folder).rglob("*.py")]
    found = {file for file in files if writes_messages(file)} - set(PROMPTS)
    assert {str(file.relative_to(ROOT)) for file in found} == ELSEWHERE
