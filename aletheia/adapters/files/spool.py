"""A file without a name, written in bounded pieces, hashed and recognised as it grows."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Collection

from aletheia.analysis.file_types import (
    HEAD_BYTES,
    TAIL_BYTES,
    FileType,
    find_type,
    is_readable_as,
    may_become,
)
from aletheia.analysis.ports import FetchedFile
from aletheia.errors import ComputeFailed, InvalidTask


class Spool:
    """Takes the bytes of one file; nothing of it stays when it is closed or this process ends."""

    def __init__(self, types: Collection[FileType], *, max_bytes: int, shown: str) -> None:
        self._types, self._max_bytes, self._shown = frozenset(types), max_bytes, shown
        # Without a name from the beginning on Linux (O_TMPFILE), elsewhere from its first moment.
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise _no_space(error) from error
        # What copies a file in a thread goes on for a moment after it was cancelled: by then the
        # number of our descriptor may be that of somebody else's file.
        self._writing = threading.Lock()
        self._hash = hashlib.sha256()
        self._head, self._is_checked = b"", False
        self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            InvalidTask: as soon as they are too many or of no use.
            ComputeFailed: `file_unavailable`; there is no space for them.
            ValueError: it is closed.
        """
        self.size_bytes += len(chunk)
        self.check_size(self.size_bytes)
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        if not self._is_checked and len(self._head) == HEAD_BYTES:
            self._is_checked = True
            found = find_type(self._head)
            if not may_become(found, self._types):
                raise wrong_type(found, self._types, self._shown)
        self._hash.update(chunk)
        try:
            with self._writing:
                _write_all(self._file.fileno(), chunk)
        except OSError as error:
            raise _no_space(error) from error

    def check_size(self, size_bytes: int) -> None:
        """Raise `InvalidTask`, `too_large`, if a file has more bytes than are taken."""
        if size_bytes > self._max_bytes:
            reason = f"{self._shown} is larger than {self._max_bytes:,} bytes"
            raise InvalidTask("too_large", reason)

    def finish(self) -> FetchedFile:
        """Return the file, which is whole now. Raises `InvalidTask`: empty, or of another type."""
        descriptor = self._file.fileno()
        os.lseek(descriptor, 0, os.SEEK_SET)
        tail = os.pread(descriptor, TAIL_BYTES, max(0, self.size_bytes - TAIL_BYTES))
        found = find_type(self._head, tail)
        check_type(found, self._types, self._shown)
        return FetchedFile(descriptor, self.size_bytes, self._hash.hexdigest(), found, self._shown)

    def close(self) -> None:
        """Drop the file. Idempotent."""
        with self._writing:
            self._file.close()


def check_type(found: FileType, types: Collection[FileType], shown: str) -> None:
    """Raise `InvalidTask`, `empty_file` or `wrong_type`, unless a type was asked for."""
    if found == "empty":
        raise InvalidTask("empty_file", f"{shown} has no content")
    if not is_readable_as(found, types):
        raise wrong_type(found, types, shown)


def wrong_type(found: FileType, types: Collection[FileType], shown: str) -> InvalidTask:
    """Build the error of a file of another type than those that were asked for."""
    wanted = ", ".join(sorted(types))
    is_known = found not in ("unknown", "empty")
    seen = f"is {found} by its content" if is_known else "is of no type that is known"
    return InvalidTask("wrong_type", f"{shown} {seen}; what is read: {wanted}")


def _no_space(error: OSError) -> ComputeFailed:
    reason = f"no space for a temporary file: {error.strerror}"
    return ComputeFailed("file_unavailable", reason)


def _write_all(descriptor: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[os.write(descriptor, left) :]
