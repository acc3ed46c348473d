"""The file with user and password of a Prefect server of ours."""

import os
import stat
from pathlib import Path

import pytest

from aletheia.errors import Misconfigured
from deployments.private_files import find_exposure, make_sign_in, read_sign_in


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "password"


def test_without_a_file_there_is_no_password(path: Path):
    assert read_sign_in(path) is None


def test_whatever_the_umask_only_the_owner_reads_it_from_its_first_moment(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    modes: list[int] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        modes.append(os.fstat(descriptor).st_mode)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    before = os.umask(0)
    try:
        make_sign_in(path)
    finally:
        os.umask(before)
    modes.append(path.stat().st_mode)
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600, 0o600]
    assert list(path.parent.iterdir()) == [path]


def test_each_password_is_another_and_long(path: Path):
    found: set[str] = set()
    for _ in range(3):
        make_sign_in(path)
        found.add(read_sign_in(path) or "")
    assert len(found) == 3
    assert all(len(text.partition(":")[2]) >= 40 for text in found)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_or_write_is_refused(path: Path, mode: int):
    make_sign_in(path)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match=f"mode {mode:o}"):
        read_sign_in(path)


def test_a_file_of_another_user_is_exposed(path: Path):
    make_sign_in(path)
    found = list(path.stat())
    found[stat.ST_UID] += 1
    assert find_exposure(os.stat_result(found)) == "belongs to another user"


@pytest.mark.parametrize("text", ["", "\n", "password", ":password", "user:", "us\u00e9r:password"])
def test_a_file_without_user_and_password_is_refused(path: Path, text: str):
    make_sign_in(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Misconfigured, match="user:password"):
        read_sign_in(path)


def test_a_link_a_pipe_and_a_directory_are_refused(path: Path):
    make_sign_in(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_sign_in(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(Misconfigured, match="is not a file"):
        read_sign_in(path)
    path.unlink()
    path.mkdir(0o700)
    with pytest.raises(Misconfigured, match="is not a file"):
        read_sign_in(path)
