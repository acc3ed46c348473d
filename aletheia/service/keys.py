"""The keys that tokens are checked with: a shared secret, or what an issuer publishes.

A key never comes from a token. Each key serves one algorithm, chosen by the key's own kind, so that
no header of a token makes a public key a secret, or one algorithm another.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey

from aletheia.errors import AletheiaError, BadAnswer, Misconfigured, Unavailable
from aletheia.service.ports import FetchKeys
from aletheia.store.backoff import Backoff
from aletheia.store.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

SECRET: Final = "AUTH_JWT_SECRET"  # noqa: S105 - the name of a setting
JWKS_URL: Final = "AUTH_JWKS_URL"
"""The settings that errors point to."""

MIN_SECRET_BYTES: Final = 32
"""Shortest secret: as long as the hash (https://www.rfc-editor.org/rfc/rfc7518#section-3.2)."""

MIN_RSA_BITS: Final = 2048
"""Shortest RSA key (https://www.rfc-editor.org/rfc/rfc7518#section-3.3)."""

MAX_RSA_BITS: Final = 8192
"""A longer one makes checking a signature slow."""

MAX_KEYS: Final = 100
"""Keys of one issuer; a document with more is not read."""

MAX_AGE_S: Final = 600.0
"""For so long the keys that were read are taken without asking again."""

MIN_AGE_S: Final = 10.0
"""For so long a token with an unknown key makes nobody ask: strangers make such tokens."""

MAX_STALE_S: Final = 3_600.0
"""For so long they are taken while the issuer is away; then nobody is let in."""

PATIENCE_S: Final = 0.5
"""For so long a caller whose key is known waits for an issuer that is asked again."""

_BACKOFF: Final = Backoff(base_s=2.0, max_s=120.0)
_PUBLIC_KEY: Final = re.compile(r"-----?\s?BEGIN |ssh-|ecdsa-|\{", re.ASCII)
_RSA_NAMES: Final = ("kty", "n", "e")
_EC_NAMES: Final = ("kty", "crv", "x", "y")
_CURVE: Final = "P-256"


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key, and the one algorithm that it is for."""

    kid: str | None
    algorithm: str
    key: OctKey | RSAKey | ECKey


class VerificationKeys(Protocol):
    """The keys of one issuer."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that tokens may be signed with; nothing in a token changes them."""
        ...

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """Return the key that a token names; `None` if there is none.

        Without a name it is the only key for the algorithm, if there is just one. Raises
        `Unavailable` while no keys can be had.
        """
        ...


class SecretKey:
    """The one secret that we share with the issuer (HS256).

    Raises `Misconfigured` where it is too short, or is a public key, which anybody may know.
    """

    algorithms = ("HS256",)

    def __init__(self, secret: str) -> None:
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise Misconfigured(SECRET, f"has to have {MIN_SECRET_BYTES} bytes at least")
        if _PUBLIC_KEY.match(secret):
            raise Misconfigured(SECRET, "looks like a key that is published; it has to be a secret")
        self._key = VerificationKey(None, "HS256", OctKey.import_key(secret))

    def __repr__(self) -> str:
        return "SecretKey(***)"

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """Return the secret, whatever a token calls it."""
        del kid
        return self._key if algorithm == self._key.algorithm else None


class PublishedKeys:
    """The keys that an issuer publishes (RS256, ES256): cached, and read again when they change.

    While the issuer is away, what was read last is taken for `MAX_STALE_S`.
    """

    algorithms = ("RS256", "ES256")

    def __init__(self, fetch: FetchKeys, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._fetch, self._clock = fetch, clock
        self._keys: Sequence[VerificationKey] = ()
        self._read_at: float | None = None  # steady, as are all moments here
        self._asked_at: float | None = None
        self._failures = 0
        self._next_try_at = 0.0
        self._attempt: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """See `VerificationKeys`."""
        age_s = self._age_s(self._read_at)
        if age_s > MAX_AGE_S:
            is_known = age_s <= MAX_STALE_S and self._choose(kid, algorithm) is not None
            await self._ask(within_s=PATIENCE_S if is_known else None)
        found = self._choose(kid, algorithm)
        if found is None and self._age_s(self._asked_at) > MIN_AGE_S:
            await self._ask()
            found = self._choose(kid, algorithm)
        if self._age_s(self._read_at) > MAX_STALE_S:
            raise Unavailable("the issuer of tokens", "its keys cannot be read")
        return found

    def _choose(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        suitable = [key for key in self._keys if key.algorithm == algorithm]
        if kid is None:
            return suitable[0] if len(suitable) == 1 else None
        return next((key for key in suitable if key.kid == kid), None)

    def _age_s(self, since: float | None) -> float:
        return float("inf") if since is None else self._clock.steady_s() - since

    async def _ask(self, *, within_s: float | None = None) -> None:
        """Read the keys, unless that failed a moment ago; all that want it share an attempt.

        Whoever has waited for `within_s` seconds goes on, and so does the attempt.
        """
        if self._attempt is None or self._attempt.done():
            if self._clock.steady_s() < self._next_try_at:
                return
            self._attempt = asyncio.create_task(self._read())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.shield(self._attempt)

    async def _read(self) -> None:
        self._asked_at = self._clock.steady_s()
        try:
            keys = read_keys(await self._fetch())
            if not keys:
                raise BadAnswer("the issuer of tokens", "it publishes no key that is of use")
        except AletheiaError as error:
            self._failures += 1
            self._next_try_at = self._clock.steady_s() + _BACKOFF.pause_s(self._failures)
            log.warning("the keys of tokens cannot be read: %s", error)
        else:
            self._keys = keys
            self._read_at, self._failures, self._next_try_at = self._asked_at, 0, 0.0


def read_keys(body: bytes) -> list[VerificationKey]:
    """Read the keys of a document that can check signatures of ours; the others are left out.

    Raises:
        BadAnswer: it is no such document.
    """
    try:
        document = orjson.loads(body)
        listed = document["keys"]
        if not isinstance(listed, list):
            raise TypeError
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise BadAnswer("the issuer of tokens", "its keys are no JWK set") from None
    entries = cast("list[object]", listed)
    if len(entries) > MAX_KEYS:
        raise BadAnswer("the issuer of tokens", f"it has more than {MAX_KEYS} keys")
    keys = [
        _read_key(cast("dict[str, Any]", entry)) for entry in entries if isinstance(entry, dict)
    ]
    return [key for key in keys if key is not None]


def _read_key(entry: Mapping[str, Any]) -> VerificationKey | None:
    """Read one key; `None` unless it is a public one for signatures, of a kind that we take."""
    kinds = {"RSA": ("RS256", _RSA_NAMES), "EC": ("ES256", _EC_NAMES)}
    kind, kid = entry.get("kty"), entry.get("kid")
    if not isinstance(kind, str) or kind not in kinds or not isinstance(kid, str | None):
        return None
    algorithm, names = kinds[kind]
    operations: object = entry.get("key_ops", ["verify"])
    is_for_signatures = isinstance(operations, list) and "verify" in operations
    if not is_for_signatures or entry.get("use", "sig") != "sig":
        return None
    if entry.get("alg", algorithm) != algorithm:
        return None
    try:
        # Of a private key that was published by mistake, only the public part is taken.
        public = {name: entry[name] for name in names}
        key = RSAKey.import_key(public) if kind == "RSA" else ECKey.import_key(public)
        is_strong = _is_strong(key)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        log.warning("a key of the issuer cannot be read: %s", type(error).__name__)
        return None
    return VerificationKey(kid, algorithm, key) if is_strong else None


def _is_strong(key: RSAKey | ECKey) -> bool:
    if isinstance(key, ECKey):
        return key.curve_name == _CURVE
    return MIN_RSA_BITS <= key.public_key.key_size <= MAX_RSA_BITS
