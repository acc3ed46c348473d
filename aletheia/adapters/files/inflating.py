"""Undoes the compression of a body, in pieces, and ends one that is a bomb."""

import zlib
from collections.abc import Iterator
from typing import Final

from aletheia.errors import ComputeFailed, InvalidTask

MAX_RATIO: Final = 100
"""Times its size that a body may grow: deflate reaches 1,032 (https://zlib.net/zlib_tech.html),
texts and tables under 20, a page of blanks more."""

FREE_BYTES: Final = 2**20
"""Size up to which any ratio is taken."""

_PIECE: Final = 65_536
_ZLIB_OR_GZIP: Final = 47  # window bits: the largest, header found by zlib
_RAW: Final = -15
_MEMBER: Final = 0x1F  # the first byte of each member of gzip (RFC 1952)
ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class Inflation:
    """The body of one answer: `gzip`, `deflate`, or as it is (`identity`, empty)."""

    def __init__(self, encoding: str, shown: str) -> None:
        self.read_bytes = 0  # of the body as it is sent
        self._shown = shown
        self._encoding = encoding.strip().lower()
        if self._encoding not in {*ENCODINGS, "", "identity"}:
            reason = f"{shown} is sent in the encoding {encoding[:40]!r}, which was not asked for"
            raise InvalidTask("file_refused", reason)
        self._is_plain = self._encoding in ("", "identity")
        self._stream = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._made = 0
        self._is_over = False  # whether nothing but padding may follow

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the next bytes stand for, in pieces of at most 64 KiB.

        Raises:
            InvalidTask: `decompression_bomb`.
            ComputeFailed: `file_unavailable`; they are not what the header says.
        """
        self.read_bytes += len(chunk)
        if self._is_plain:
            yield chunk
            return
        while chunk and not self._is_over:
            if self._stream.eof:
                # Another member of gzip, or padding, of which nothing is kept.
                self._is_over = self._encoding == "deflate" or chunk[0] != _MEMBER
                if self._is_over:
                    return
                self._stream = zlib.decompressobj(_ZLIB_OR_GZIP)
            piece = self._inflate(chunk)
            self._made += len(piece)
            if self._made > FREE_BYTES and self._made > MAX_RATIO * self.read_bytes:
                reason = f"{self._shown} grows to more than {MAX_RATIO} times its size"
                raise InvalidTask("decompression_bomb", reason)
            if piece:
                yield piece
            chunk = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def finish(self) -> None:
        """Check that the body is whole, or raise `ComputeFailed`."""
        if not self._is_plain and self.read_bytes and not self._stream.eof:
            raise ComputeFailed("file_unavailable", f"{self._shown} ends too early")

    def _inflate(self, chunk: bytes) -> bytes:
        try:
            return self._stream.decompress(chunk, _PIECE)
        except zlib.error:
            is_first = not self._made and self._encoding == "deflate"
        if is_first:
            # Some servers send deflate without its wrapping, against RFC 9110.
            self._stream = zlib.decompressobj(_RAW)
            try:
                return self._stream.decompress(chunk, _PIECE)
            except zlib.error:
                pass
        raise ComputeFailed("file_unavailable", f"{self._shown} cannot be decompressed")
