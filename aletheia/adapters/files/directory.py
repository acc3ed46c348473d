"""Opens files below one directory, and nothing outside of it."""

import errno
import os
import stat
from pathlib import PurePosixPath
from typing import Final

from aletheia.errors import ComputeFailed, InvalidTask

SETTING: Final = "FILES_DIR"

_MAX_PATH: Final = 4000
_MAX_NAME: Final = 255  # bytes, on every common file system
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe or a device without a reader would block in `open`.
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NOT_A_FILE: Final = frozenset({errno.ELOOP, errno.EMLINK, errno.ENXIO})
"""Of a symbolic link, on some systems, and of a socket or a pipe."""


def split_path(address: str, root: str) -> tuple[str, ...]:
    """Return the parts of a path below the directory `root`.

    Raises:
        InvalidTask: `invalid_file`, or `forbidden_address` where it leads elsewhere.
    """
    if not address.strip() or "\0" in address or len(address) > _MAX_PATH:
        raise InvalidTask("invalid_file", "the path of the file is empty, too long or not a path")
    try:
        os.fsencode(address)
    except UnicodeEncodeError:
        raise InvalidTask("invalid_file", "the path of the file is not text") from None
    path = PurePosixPath(address)
    if path.is_absolute():
        if not path.is_relative_to(root):
            raise InvalidTask("forbidden_address", f"the path does not lie below {SETTING}")
        path = path.relative_to(root)
    if not path.parts or ".." in path.parts:
        raise InvalidTask("forbidden_address", f"the path does not stay below {SETTING}")
    if max(len(os.fsencode(part)) for part in path.parts) > _MAX_NAME:
        raise InvalidTask("invalid_file", "a name in the path of the file is too long")
    return path.parts


def open_below(root: str, parts: tuple[str, ...]) -> int:
    """Open a regular file by the parts of its path; return its descriptor.

    Each part is opened in the folder before it and symbolic links are not followed, so that nobody
    who writes there can lead out of the directory, however quickly things are exchanged.

    Raises:
        InvalidTask: `file_not_found`, or `forbidden_address` for a link, a folder or a device.
        ComputeFailed: `file_unavailable`; the system cannot open it now.
    """
    folder = -1
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(parts[-1], _FILE_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        raise InvalidTask("file_not_found", f"there is no such file below {SETTING}") from None
    except (NotADirectoryError, IsADirectoryError, PermissionError):
        raise _forbidden() from None
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise _forbidden() from None
        reason = f"a file below {SETTING} cannot be opened: {error.strerror}"
        raise ComputeFailed("file_unavailable", reason) from error
    finally:
        if folder >= 0:
            os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _forbidden()
    return descriptor


def _forbidden() -> InvalidTask:
    return InvalidTask(
        "forbidden_address",
        f"the path names no regular file below {SETTING}; symbolic links are not followed",
    )
