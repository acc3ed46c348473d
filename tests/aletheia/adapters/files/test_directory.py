"""Files below one directory, and nothing outside of it."""

import os
import socket
from pathlib import Path

import pytest

from aletheia.adapters.files.directory import open_below, split_path
from aletheia.errors import InvalidTask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "root" / "in" / "a.txt").write_text("inside")
    (tmp_path / "outside.txt").write_text("outside")
    return tmp_path / "root"


def read(root: Path, path: str) -> str:
    descriptor = open_below(str(root), split_path(path, str(root)))
    with os.fdopen(descriptor) as file:
        return file.read()


@pytest.mark.parametrize("path", ["in/a.txt", "./in/a.txt", "in//a.txt"])
def test_a_file_is_opened_by_its_path(root: Path, path: str):
    assert read(root, path) == "inside"
    assert read(root, str(root / path)) == "inside"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "invalid_file"),
        ("  ", "invalid_file"),
        ("a\0b", "invalid_file"),
        ("in/" + "a" * 300, "invalid_file"),
        ("a/" * 3000, "invalid_file"),
        ("\ud800.txt", "invalid_file"),
        (".", "forbidden_address"),
        ("..", "forbidden_address"),
        ("../outside.txt", "forbidden_address"),
        ("in/../../outside.txt", "forbidden_address"),
        ("in/../in/a.txt", "forbidden_address"),
        ("/etc/passwd", "forbidden_address"),
        ("/", "forbidden_address"),
        ("in", "forbidden_address"),
        ("in/a.txt/more", "forbidden_address"),
        ("in/b.txt", "file_not_found"),
        ("no/a.txt", "file_not_found"),
        ("~/.ssh/id_rsa", "file_not_found"),
        ("..\\outside.txt", "file_not_found"),
        ("%2e%2e/outside.txt", "file_not_found"),
    ],
)
def test_a_path_that_leads_nowhere_good_has_its_code(root: Path, path: str, code: str):
    with pytest.raises(InvalidTask) as refused:
        read(root, path)
    assert refused.value.code == code
    assert str(root) not in str(refused.value)


@pytest.mark.parametrize("link", ["file", "folder", "chain"])
def test_links_are_not_followed(root: Path, link: str):
    (root / "out").symlink_to(root.parent)
    (root / "linked.txt").symlink_to(root.parent / "outside.txt")
    (root / "in" / "up").symlink_to(root / "out")
    path = {"file": "linked.txt", "folder": "out/outside.txt", "chain": "in/up/outside.txt"}[link]
    with pytest.raises(InvalidTask) as refused:
        read(root, path)
    assert refused.value.code == "forbidden_address"


def test_what_would_never_end_is_no_file(root: Path):
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "socket"))
        for name in ("pipe", "socket"):
            with pytest.raises(InvalidTask) as refused:
                read(root, name)
            assert refused.value.code == "forbidden_address"


def test_a_directory_may_be_a_link_itself(root: Path):
    (root.parent / "here").symlink_to(root)
    assert read(root.parent / "here", "in/a.txt") == "inside"


def test_a_folder_that_is_exchanged_for_a_link_leads_nowhere(root: Path):
    parts = split_path("in/a.txt", str(root))
    (root / "in").rename(root / "old")
    (root / "in").symlink_to(root.parent)
    (root.parent / "a.txt").write_text("outside")
    with pytest.raises(InvalidTask):
        open_below(str(root), parts)


def test_no_descriptor_stays_open(root: Path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("in/b.txt", "in", "no/a.txt", "in/a.txt/more"):
        with pytest.raises(InvalidTask):
            read(root, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
