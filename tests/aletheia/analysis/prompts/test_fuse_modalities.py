from pathlib import Path

from aletheia.analysis.prompts.fuse_modalities import FORM, build_prompt


def test_the_words_of_the_prompt_are_known():
    statements = {"text": {"T1": "The silos are full."}, "audio": {"A1": "They are empty."}}
    system, user = build_prompt(statements)
    written = f"{system.text}\n\n=====\n\n{user.text}\n"
    snapshot = Path(__file__).with_name("fuse_modalities.txt").read_text("utf-8")
    assert written == snapshot


def test_the_form_asks_for_references():
    assert FORM.name == "fused_analysis"
    assert "refs" in str(FORM.schema)
