"""Secrets of this process, and the forms in which a line of a log might show them."""

import base64
import json
import threading
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN: Final = "***"

MIN_CHARS: Final = 8
"""Shortest secret that is looked for; what is shorter would be found in ordinary words."""

MAX_SECRETS: Final = 200
"""Secrets that are looked for in each line; the oldest go, those of addresses that runs named."""

_BASE64_GROUP: Final = 3
_URL_SAFE: Final = str.maketrans("+/", "-_")


class Secrets:
    """What no line may show, in any form. Safe to use from several threads."""

    def __init__(self) -> None:
        self._forms: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def add(self, secret: str) -> None:
        """Hide a secret from now on; of an address, whatever in it lets somebody in, too."""
        for part in (secret, *_find_in_address(secret)):
            with self._lock:
                if len(part) >= MIN_CHARS and part not in self._forms:
                    self._forms[part] = tuple(sorted(set(_derive(part)), key=len, reverse=True))
                    while len(self._forms) > MAX_SECRETS:
                        del self._forms[next(iter(self._forms))]

    def redact(self, text: str) -> str:
        """Return a text with `HIDDEN` in place of every form of every secret."""
        for forms in tuple(self._forms.values()):
            for form in forms:
                if form in text:
                    text = text.replace(form, HIDDEN)
        return text


SECRETS: Final = Secrets()
"""Those of this process, filled where they are read."""


def _find_in_address(secret: str) -> Iterator[str]:
    """Yield what lets somebody in of an address: user with password, password, values asked."""
    try:
        url = urlsplit(secret)
    except ValueError:
        return
    if not url.scheme or not url.netloc:
        return
    if url.password:
        password = unquote(url.password)
        yield from (password, url.password, f"{unquote(url.username or '')}:{password}")
    yield from (part.partition("=")[2] for part in url.query.split("&"))


def _derive(secret: str) -> Iterator[str]:
    """Yield a secret as it is, quoted for URLs, JSON and Python, in base64 and hexadecimal."""
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield from (json.dumps(secret)[1:-1], repr(secret)[1:-1])
    encoded = secret.encode(errors="replace")
    yield from (encoded.hex(), encoded.hex().upper())
    for before in range(_BASE64_GROUP):
        form = _base64_within(encoded, before)
        yield from (form, form.translate(_URL_SAFE), quote(form, safe=""))


def _base64_within(encoded: bytes, before: int) -> str:
    """Return what base64 makes of bytes for certain, behind so many others and before any others.

    A secret is seldom encoded alone: `Authorization: Basic` has a name and a colon before it.
    """
    text = base64.b64encode(bytes(before) + encoded).decode().rstrip("=")
    # A character stands for 6 bits: the first and the last may have some of their neighbours.
    first = -(-8 * before // 6)
    last = 8 * (before + len(encoded)) // 6
    return text[first:last]
