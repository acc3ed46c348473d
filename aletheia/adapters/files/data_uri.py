"""The content of `data:` URIs (RFC 2397)."""

import base64
import binascii
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from aletheia.errors import InvalidTask

SCHEME: Final = "data:"
SHOWN: Final = "the data: URI"

_MAX_MEDIA_TYPE: Final = 1000
_PIECE: Final = 65_536  # characters, a multiple of 4
_GROWTH: Final = 3  # characters of a URI for a byte, at most
_BLANKS: Final = str.maketrans("", "", " \t\r\n")


def read_data_uri(address: str, max_bytes: int) -> Iterator[bytes]:
    """Yield the content of a `data:` URI in pieces.

    Raises:
        InvalidTask: `invalid_file`, or `too_large` before anything is decoded.
    """
    header, comma, data = address[len(SCHEME) :].partition(",")
    if not comma or len(header) > _MAX_MEDIA_TYPE:
        raise InvalidTask("invalid_file", f"{SHOWN} has no comma between its type and its data")
    if len(data) > _GROWTH * max_bytes + _PIECE:
        raise InvalidTask("too_large", f"{SHOWN} is larger than {max_bytes:,} bytes")
    if not data.isascii():
        raise InvalidTask("invalid_file", f"{SHOWN} holds characters that are not ASCII")
    if header.lower().replace(" ", "").endswith(";base64"):
        yield from _decode_base64(data)
    else:
        yield unquote_to_bytes(data)


def _decode_base64(data: str) -> Iterator[bytes]:
    if "%" in data:
        data = unquote_to_bytes(data).decode("latin-1")
    data = data.translate(_BLANKS).rstrip("=")
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    data += "=" * (-len(data) % 4)
    for start in range(0, len(data), _PIECE):
        try:
            yield base64.b64decode(data[start : start + _PIECE], validate=True)
        except (binascii.Error, ValueError):
            raise InvalidTask("invalid_file", f"{SHOWN} is not base64 as it says") from None
