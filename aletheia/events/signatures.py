"""Signatures of webhooks, ours and those that are sent to us (SPEC §4, §6)."""

import hashlib
import hmac
import re
from typing import Final

TIMESTAMP_HEADER: Final = "X-Aletheia-Timestamp"
SIGNATURE_HEADER: Final = "X-Aletheia-Signature"
EVENT_ID_HEADER: Final = "X-Aletheia-Event-Id"

WINDOW_S: Final = 300
"""How far the time of a signature may be from ours, seconds (SPEC §6)."""

_SIGNATURE: Final = re.compile(r"sha256=[0-9a-f]{64}", re.ASCII)
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Make the value of the signature's header."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def has_form(signature: str) -> bool:
    """Check whether a header's value looks like a signature, whatever it may have signed."""
    return _SIGNATURE.fullmatch(signature.strip().lower()) is not None


def is_signed(secret: str, timestamp: str, body: bytes, signature: str) -> bool:
    """Check a signature, in a time that does not depend on how much of it is right."""
    given = signature.strip().lower().encode()
    return hmac.compare_digest(sign(secret, timestamp, body).encode(), given)


def is_timely(timestamp: str, now_s: float) -> bool:
    """Check whether a signature was made within `WINDOW_S` of now, both in Unix time, seconds."""
    return _TIMESTAMP.fullmatch(timestamp) is not None and abs(now_s - int(timestamp)) <= WINDOW_S
