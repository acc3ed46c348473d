"""The pairs of Apertium that a system has, and calling its program."""

import tempfile
from pathlib import Path

import pytest

from aletheia.adapters.translation.apertium import find_modes, package_version, translate
from aletheia.errors import ComputeFailed


def install(directory: Path, script: str, *modes: str) -> Path:
    for name in ("bin", "share/apertium/modes"):
        (directory / name).mkdir(parents=True)
    program = directory / "bin" / "apertium"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    for mode in modes:
        (directory / "share" / "apertium" / "modes" / f"{mode}.mode").touch()
    return program


def run(program: Path, text: str) -> str:
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        pieces = translate([file.fileno()], program=str(program), mode="eng-spa")
        return "".join(piece["text"] for piece in pieces)


def test_pairs_are_known_by_the_codes_of_their_languages(tmp_path: Path):
    program = install(
        tmp_path, "", "eng-spa", "es-pt", "spa-eng_US", "eng-tagger", "xxx-eng", "odd"
    )
    assert find_modes(program) == {("en", "es"): "eng-spa", ("es", "pt"): "es-pt"}


def test_where_there_is_no_directory_of_modes_there_is_no_pair(tmp_path: Path):
    assert find_modes(tmp_path / "bin" / "apertium") == {}


@pytest.mark.parametrize(
    ("script", "version"), [("echo Apertium 3.8.3", "3.8.3"), ("echo none", ""), ("exit 1", "")]
)
def test_its_version_is_asked_for(tmp_path: Path, script: str, version: str):
    assert package_version(install(tmp_path, script)) == version


def test_a_program_that_cannot_be_started_has_no_version(tmp_path: Path):
    assert package_version(tmp_path / "nowhere") == ""


def test_the_text_goes_through_the_program_with_its_breaks(tmp_path: Path):
    program = install(tmp_path, "tr a-z A-Z")
    assert run(program, "one\n\ntwo 😀 ü") == "ONE\n\nTWO 😀 ü"


@pytest.mark.parametrize("script", ["cat >/dev/null", "echo bad >&2; exit 2"])
def test_a_program_that_fails_or_says_nothing_is_an_error(tmp_path: Path, script: str):
    with pytest.raises(ComputeFailed) as failed:
        run(install(tmp_path, script), "one")
    assert failed.value.code == "engine_failed"
