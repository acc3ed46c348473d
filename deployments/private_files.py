"""Files that hold secrets, which nobody but their owner may read."""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from aletheia.errors import Misconfigured

USER: Final = "aletheia"
"""User in the password of a Prefect server of ours; Prefect accepts any."""

MAX_BYTES: Final = 4096
"""Longest file that is read."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def find_exposure(file: os.stat_result) -> str | None:
    """Return who else may get at a file, in words; `None` if nobody but this user may."""
    if not stat.S_ISREG(file.st_mode):
        return "is not a file"
    if file.st_uid != os.geteuid():
        return "belongs to another user"
    if file.st_mode & _OTHERS:
        return f"is open to other users (mode {stat.S_IMODE(file.st_mode):o})"
    return None


def read_sign_in(path: Path) -> str | None:
    """Read `user:password` from a file that nobody else may read; `None` if there is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(str(path), f"cannot be read: {error.strerror}") from None
    try:
        exposure = find_exposure(os.fstat(descriptor))
        text = "" if exposure else os.read(descriptor, MAX_BYTES).decode(errors="replace").strip()
    finally:
        os.close(descriptor)
    if exposure:
        advice = "end the servers (`make down`) and delete it; the next start makes another"
        raise Misconfigured(str(path), f"{exposure}; {advice}")
    user, _, password = text.partition(":")
    if not user or not password or not text.isascii():
        raise Misconfigured(str(path), "holds no user:password; delete it")
    return text


def make_sign_in(path: Path) -> None:
    """Write a user and a random password into a new file that only this user reads."""
    _write_privately(path, f"{USER}:{secrets.token_urlsafe(32)}\n")


def ensure_secret(path: Path) -> str:
    """Return the secret in a file that nobody else may read; write a random one if there is none.

    It has the form of a sign-in, and is what stands behind the colon.
    """
    if (found := read_sign_in(path)) is None:
        make_sign_in(path)
        found = read_sign_in(path) or ""
    return found.partition(":")[2]


def _write_privately(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
