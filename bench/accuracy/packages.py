"""Free data that packages of public registries hold, got once by their own clients."""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from bench.programs import BenchFailed
from deployments import ROOT

DATA: Final = ROOT / ".services" / "data"
"""Where it is kept; git ignores it."""


def get_sdist(name: str, version: str, file: str, sha256: str) -> Path:
    """Return the source distribution of a package of PyPI, downloaded if it is not there yet."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"),
        f"{name}=={version}",
    ]
    return _get(file, sha256, command)


def get_wheel(name: str, version: str, file: str, sha256: str) -> Path:
    """Return the wheel of a package of PyPI, which is not installed."""
    command = [
        *(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
        ),
        f"{name}=={version}",
    ]
    return _get(file, sha256, command)


def get_npm_package(name: str, version: str, file: str, sha256: str) -> Path:
    """Return the archive of a package of npm, downloaded if it is not there yet."""
    return _get(file, sha256, ["npm", "pack", "--silent", f"{name}@{version}"])


def read_member(archive: Path, member: str) -> bytes:
    """Return one file of a tar archive."""
    with tarfile.open(archive) as opened:
        found = opened.extractfile(member)
        if found is None:
            raise BenchFailed(f"{archive.name} has no {member}")
        return found.read()


def _get(file: str, sha256: str, command: list[str]) -> Path:
    """Run a command that leaves a file in its directory, unless the file is there; check it."""
    path = DATA / file
    if not path.is_file():
        DATA.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=DATA) as directory:
            subprocess.run(command, cwd=directory, check=True)
            (Path(directory) / file).rename(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise BenchFailed(f"{path} is not the file that is expected: SHA-256 {found}")
    return path
