"""Nothing in the repository ties it to the place where it was written."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deployments import ROOT

INDEX = re.compile(
    r"(--|\b)(index[-_]url|extra[-_]index[-_]url|find[-_]links|trusted[-_]host|default[-_]index)"
    r"[= ]+['\"]?(https?:|/)",
    re.IGNORECASE,
)
"""Where packages come from, as options of pip, uv and npm."""

PRIVATE_ADDRESS = re.compile(
    r"https?://(10\.\d+|172\.(1[6-9]|2\d|3[01])|192\.168)\.\d+\.\d+[:/]", re.IGNORECASE
)

PACKAGING = {".toml", ".txt", ".yaml", ".yml", ".sh", ".cfg", ".ini", ".json", ".lock", ""}
"""Files that tools read; the code may name addresses as examples."""


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_package_index():
    for path in tracked():
        if path.suffix in PACKAGING:
            text = path.read_text(errors="replace")
            assert not INDEX.search(text), path
            assert not PRIVATE_ADDRESS.search(text), path


def test_constraints_are_exact_versions_and_nothing_else():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[A-Za-z0-9.+!]+( ; .+)?", line), line
        assert "://" not in line, line


def test_constraints_lock_every_requirement():
    locked = {
        line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {Requirement(line).name for lines in declared for line in lines}
    assert names <= locked, "run `make constraints`"


def test_the_makefile_explains_every_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert phony
    explained = set(re.findall(r"^([a-z0-9]+):.*## .+$", makefile, re.MULTILINE))
    assert set(phony[1].replace("\\", " ").split()) == explained


@pytest.mark.parametrize("name", ["deployments/install.sh", ".ci/run"])
def test_a_script_is_executable_and_can_be_parsed(name: str):
    script = ROOT / name
    assert script.stat().st_mode & 0o111
    shell = script.read_text().partition("\n")[0].removeprefix("#!").split()
    subprocess.run([*shell, "-n", script], check=True)
