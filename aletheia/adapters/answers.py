"""What an HTTP answer says besides its payload, in a form that is safe to keep and to act on."""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

EXCERPT_LENGTH = 200
"""Characters of an answer that an error carries."""

MAX_RETRY_AFTER_S = 86_400.0
"""Longest wait that is believed, so that no answer can name one that overflows a date."""

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)


def excerpt(body: bytes, *secrets: str) -> str:
    """Show the beginning of an answer on one line.

    Args:
        body: the answer's body, or the beginning of it.
        secrets: what must not be shown, wherever it occurs in `body`.

    Returns:
        At most `EXCERPT_LENGTH` printable characters.
    """
    shown = "".join(c if c.isprintable() else " " for c in body.decode("utf-8", "replace"))
    for secret in secrets:
        if secret:
            shown = shown.replace(secret, "***")
    return " ".join(shown.split())[:EXCERPT_LENGTH].rstrip()


def read_date(value: str | None) -> float | None:
    """Read an HTTP date as seconds since the epoch, `None` if it is not one."""
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def read_retry_after(value: str | None, *, date: str | None, now: float) -> float | None:
    """Read a `Retry-After` header: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after.

    Args:
        value: the header: seconds, or an HTTP date.
        date: the same answer's `Date` header; a date in `value` is relative to it, so that a
            difference between the server's clock and ours does not matter.
        now: seconds since the epoch, used where there is no `Date`.

    Returns:
        Seconds to wait, 0 to `MAX_RETRY_AFTER_S`, or `None` where the header says nothing.
    """
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(float(value), MAX_RETRY_AFTER_S)
    until = read_date(value)
    if until is None:
        return None
    sent = read_date(date)
    return min(max(until - (now if sent is None else sent), 0.0), MAX_RETRY_AFTER_S)
