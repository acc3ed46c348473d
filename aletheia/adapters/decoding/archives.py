"""Opens ZIP archives that others made, as far as they are what documents are."""

import os
import zipfile
from pathlib import PurePosixPath
from typing import BinaryIO, Final

from aletheia.errors import InvalidTask

MAX_ENTRIES: Final = 5000
MAX_TOTAL_BYTES: Final = 300_000_000
"""What an archive may hold in all, decompressed, pictures included."""

MAX_PART_BYTES: Final = 60_000_000
"""Longest part that is read: the XML of the text."""

MAX_RATIO: Final = 200
FREE_BYTES: Final = 5_000_000
"""Times its size that a part above `FREE_BYTES` may grow; XML of tables reaches 100."""


def open_archive(descriptor: int) -> zipfile.ZipFile:
    """Open an archive whose names, sizes and growth are those of a document.

    Python's reader never reads more of an entry than the size that was checked here.

    Raises:
        InvalidTask: `unreadable_document`, `too_large`, `decompression_bomb`.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    opened: BinaryIO = os.fdopen(os.dup(descriptor), "rb")
    try:
        archive = zipfile.ZipFile(opened)
        _check_entries(archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        opened.close()
        reason = f"the archive is not whole: {type(error).__name__}"
        raise InvalidTask("unreadable_document", reason) from error
    except InvalidTask:
        opened.close()
        raise
    return archive


def read_part(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """Read a part of XML; `None` if there is none.

    Raises:
        InvalidTask: `unreadable_document`; it is damaged, or declares a type or entities of its
            own, which the format forbids (ECMA-376, Part 2) and which only attacks have.
    """
    try:
        part = archive.getinfo(name)
    except KeyError:
        return None
    if part.file_size > MAX_PART_BYTES:
        reason = f"a part of the document has more than {MAX_PART_BYTES:,} bytes"
        raise InvalidTask("too_large", reason)
    try:
        data = archive.read(part)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError) as error:
        reason = f"a part of the document cannot be read: {type(error).__name__}"
        raise InvalidTask("unreadable_document", reason) from error
    except Exception as error:
        # The decompressors raise errors of their own: of zlib, of lzma.
        reason = "a part of the document cannot be decompressed"
        raise InvalidTask("unreadable_document", reason) from error
    squeezed = data.replace(b"\0", b"").upper()  # whatever its encoding, as far as XML has any
    if b"<!DOCTYPE" in squeezed or b"<!ENTITY" in squeezed:
        reason = "a part of the document declares a type or entities of its own"
        raise InvalidTask("unreadable_document", reason)
    return data


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidTask("too_large", f"the archive holds more than {MAX_ENTRIES:,} entries")
    total = 0
    for entry in entries:
        total += entry.file_size
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            reason = "the archive holds an entry that leads out of it"
            raise InvalidTask("unreadable_document", reason)
        if entry.flag_bits & 1:
            raise InvalidTask("encrypted", "the document is encrypted")
        growth = entry.file_size / max(1, entry.compress_size)
        if entry.file_size > FREE_BYTES and growth > MAX_RATIO:
            reason = f"an entry of the archive grows to more than {MAX_RATIO} times its size"
            raise InvalidTask("decompression_bomb", reason)
    if total > MAX_TOTAL_BYTES:
        reason = f"the archive holds more than {MAX_TOTAL_BYTES:,} bytes"
        raise InvalidTask("too_large", reason)
