"""Files that tasks name: what a processor needs of whoever fetches them (SPEC §3)."""

import os
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, get_args

from aletheia.analysis.file_types import FileType

ANY_TYPE: Final[frozenset[FileType]] = frozenset(get_args(FileType)) - {"empty"}

MEDIA_TYPES: Final[Mapping[FileType, str]] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": "text/html",
    "markdown": "text/markdown",
    "text": "text/plain",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "aac": "audio/aac",
    "mp4": "audio/mp4",
    "webm": "audio/webm",
    "aiff": "audio/aiff",
    "au": "audio/basic",
    "caf": "audio/x-caf",
    "amr": "audio/amr",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "zip": "application/zip",
    "gzip": "application/gzip",
    "rtf": "application/rtf",
    "office": "application/x-ole-storage",
}
"""Names of types, as HTTP has them; of containers that of the sound in them."""


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that is here: open, whole, and of a type that was asked for.

    It has no name in the file system, so that nothing of it stays, however this process ends.
    """

    descriptor: int  # open for reading; closed when the context of `Fetcher.fetch` is left
    size_bytes: int
    content_hash: str  # SHA-256 of its content, 64 hexadecimal digits
    type: FileType  # by its content
    shown: str  # where it is from, for errors and logs: without anything secret

    @property
    def path(self) -> Path:
        """A path by which this process, and on Linux others of its user, can open it."""
        by_pid = Path(f"/proc/{os.getpid()}/fd/{self.descriptor}")
        return by_pid if Path("/proc/self/fd").exists() else Path(f"/dev/fd/{self.descriptor}")

    @property
    def media_type(self) -> str:
        """Its type as HTTP names it, such as `audio/wav`."""
        return MEDIA_TYPES.get(self.type, "application/octet-stream")


class Fetcher(Protocol):
    """Fetches the files that tasks name, from addresses that nobody is trusted with."""

    def check(self, address: str) -> None:
        """Check an address as far as that is possible without work; `InvalidTask` as of `fetch`."""
        ...

    def fetch(
        self,
        address: str,
        *,
        types: Collection[FileType] = ANY_TYPE,
        max_bytes: int | None = None,
    ) -> AbstractAsyncContextManager[FetchedFile]:
        """Fetch the file at an https URL, in a `data:` URI, or at a path below `FILES_DIR`.

        It has at most `max_bytes`, or what is set where that is less. It is gone when the context
        is left.

        Raises:
            InvalidTask: `invalid_file` (the address cannot be used), `forbidden_address` (it is not
                public, or a path leaves the directory), `file_not_found`, `file_refused` (by its
                server), `too_large`, `decompression_bomb`, `empty_file`, `wrong_type`.
            ComputeFailed: `file_unavailable`, `file_too_slow`; another attempt may help. Not
                `Unavailable`: whoever names a server that is down for ever has no task that waits
                for ever.
        """
        ...
