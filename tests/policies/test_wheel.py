"""The wheel holds the library, whole, and nothing else."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from deployments import ROOT

WITHOUT_DEPENDENCIES = ("aletheia", "aletheia.errors", "aletheia.store.clock")
"""Modules that need nothing but Python."""

IMPORT_ALL = """
import importlib, pkgutil, sys, aletheia
assert aletheia.__file__.startswith(sys.prefix), aletheia.__file__
for module in pkgutil.walk_packages(aletheia.__path__, "aletheia."):
    importlib.import_module(module.name)
assert "prefect" not in sys.modules
"""


def run(*command: object, **variables: str) -> None:
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | {"UV_SYSTEM_CERTS": "true"} | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    uv = (sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", out)
    run(*uv, "--build-constraints", ROOT / "constraints.txt")
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel alone."""
    environment = tmp_path_factory.mktemp("empty")
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    run(*uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel)
    return python


def test_the_wheel_holds_every_file_of_the_library_and_nothing_else(wheel: Path):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (ROOT / "aletheia").rglob("*")
    wanted = {
        str(file.relative_to(ROOT))
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert held == wanted


@pytest.mark.parametrize("module", WITHOUT_DEPENDENCIES)
def test_a_module_that_needs_nothing_is_imported_in_an_empty_environment(
    python: Path, module: str, tmp_path: Path
):
    run(python, "-P", "-c", f"import os; os.chdir({str(tmp_path)!r}); import {module}")


@pytest.mark.timeout(240)
def test_every_module_is_imported_from_the_wheel_and_none_imports_prefect(python: Path):
    # The dependencies are those of this environment; the library itself is not on that path.
    run(python, "-P", "-c", IMPORT_ALL, PYTHONPATH=sysconfig.get_path("purelib"))
