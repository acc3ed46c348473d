"""Files that tasks name: what a processor needs of whoever fetches them (SPEC §3)."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from aletheia.analysis.file_types import FileType


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


class Fetcher(Protocol):
    """Gets the files that tasks name, from addresses that nobody is trusted with."""

    def check(self, address: str) -> None:
        """Check an address without asking anybody; `InvalidTask` as `fetch` raises it."""
        ...

    def fetch(
        self, address: str, types: Collection[FileType]
    ) -> AbstractAsyncContextManager[FetchedFile]:
        """Get the file at an https URL, in a `data:` URI, or at a path below `FILES_DIR`.

        Raises:
            InvalidTask: `invalid_file` (the address cannot be used), `forbidden_address` (it is not
                public, or a path leaves the directory), `file_not_found`, `file_refused` (by its
                server), `too_large`, `decompression_bomb`, `empty_file`, `wrong_type`.
            ComputeFailed: `file_unavailable`, `file_too_slow`; another attempt may help.
        """
        ...
