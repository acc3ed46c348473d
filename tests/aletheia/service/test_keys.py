"""Keys of tokens: of one secret, or as an issuer publishes them, rotates them, and is away."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from aletheia.errors import BadAnswer, Misconfigured, Unavailable
from aletheia.service import keys as module
from aletheia.service.keys import PublishedKeys, SecretKey, read_keys
from tests.fakes.clock import MovableClock

OLD = RSAKey.generate_key(2048, {"kid": "old"})
NEW = RSAKey.generate_key(2048, {"kid": "new"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})


class Issuer:
    """Publishes keys, rotates them, and goes away."""

    def __init__(self, *keys: RSAKey | ECKey) -> None:
        self.keys: Sequence[RSAKey | ECKey] = keys
        self.is_away = False
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def read(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        await self.answers.wait()
        if self.is_away:
            raise Unavailable("the issuer", "made to be away")
        return document(*(key.as_dict(private=False) for key in self.keys))


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def public(key: RSAKey | ECKey, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


async def has(keys: PublishedKeys, kid: str | None, algorithm: str = "RS256") -> bool:
    return await keys.find(kid, algorithm) is not None


async def test_keys_are_read_once_for_many_tokens(clock: MovableClock):
    issuer = Issuer(OLD)
    keys = PublishedKeys(issuer.read, clock=clock.both)
    assert all(await asyncio.gather(*(has(keys, "old") for _ in range(100))))
    assert issuer.asked == 1


async def test_a_rotated_key_is_found_and_the_old_one_is_gone(clock: MovableClock):
    issuer = Issuer(OLD)
    keys = PublishedKeys(issuer.read, clock=clock.both)
    assert await has(keys, "old")
    issuer.keys = [NEW]
    clock.move(seconds=module.MIN_AGE_S + 1)
    assert await has(keys, "new")
    assert not await has(keys, "old")


async def test_strangers_with_unknown_keys_make_nobody_ask_often(clock: MovableClock):
    issuer = Issuer(OLD)
    keys = PublishedKeys(issuer.read, clock=clock.both)
    for number in range(1_000):
        assert not await has(keys, f"made-up-{number}")
        clock.move(seconds=0.01)
    assert issuer.asked <= 2


async def test_a_withdrawn_key_is_gone_after_a_while(clock: MovableClock):
    issuer = Issuer(OLD, NEW)
    keys = PublishedKeys(issuer.read, clock=clock.both)
    assert await has(keys, "old")
    issuer.keys = [NEW]
    clock.move(seconds=module.MAX_AGE_S + 1)
    assert not await has(keys, "old")


async def test_what_was_read_lasts_while_the_issuer_is_away_but_not_for_ever(clock: MovableClock):
    issuer = Issuer(OLD)
    keys = PublishedKeys(issuer.read, clock=clock.both)
    assert await has(keys, "old")
    issuer.is_away = True
    clock.move(seconds=module.MAX_AGE_S + 1)
    assert await has(keys, "old")
    clock.move(seconds=module.MAX_STALE_S)
    with pytest.raises(Unavailable):
        await has(keys, "old")
    issuer.is_away = False
    clock.move(seconds=200)
    assert await has(keys, "old")


async def test_nobody_with_a_known_key_waits_for_an_issuer_that_hangs(
    clock: MovableClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    issuer = Issuer(OLD)
    keys = PublishedKeys(issuer.read, clock=clock.both)
    assert await has(keys, "old")
    issuer.answers.clear()
    clock.move(seconds=module.MAX_AGE_S + 1)
    async with asyncio.timeout(2):
        assert all(await asyncio.gather(*(has(keys, "old") for _ in range(50))))
    issuer.keys = [NEW]
    issuer.answers.set()
    assert await has(keys, "new")
    assert not await has(keys, "old")
    assert issuer.asked == 2


async def test_a_set_without_keys_replaces_none(clock: MovableClock):
    issuer = Issuer(OLD)
    keys = PublishedKeys(issuer.read, clock=clock.both)
    assert await has(keys, "old")
    issuer.keys = []
    clock.move(seconds=module.MAX_AGE_S + 1)
    assert await has(keys, "old")
    clock.move(seconds=module.MAX_STALE_S)
    with pytest.raises(Unavailable):
        await has(keys, "old")


async def test_an_issuer_that_is_away_is_asked_less_and_less(clock: MovableClock):
    issuer = Issuer(OLD)
    issuer.is_away = True
    keys = PublishedKeys(issuer.read, clock=clock.both)
    for _ in range(600):
        with pytest.raises(Unavailable):
            await has(keys, "old")
        clock.move(seconds=1)
    assert 3 <= issuer.asked <= 20


async def test_without_a_name_the_only_key_of_the_kind_serves(clock: MovableClock):
    keys = PublishedKeys(Issuer(OLD, EC).read, clock=clock.both)
    assert await has(keys, None)
    assert await has(keys, None, "ES256")
    keys = PublishedKeys(Issuer(OLD, NEW).read, clock=clock.both)
    assert not await has(keys, None)


@pytest.mark.parametrize("algorithm", ["HS256", "none", "", "PS256", "rs256"])
async def test_a_key_serves_no_other_algorithm(clock: MovableClock, algorithm: str):
    keys = PublishedKeys(Issuer(OLD).read, clock=clock.both)
    assert not await has(keys, "old", algorithm)


@pytest.mark.parametrize(
    "entry",
    [
        OctKey.import_key("a-secret-that-nobody-should-publish!").as_dict(),
        public(OLD, use="enc"),
        public(OLD, alg="RS512"),
        public(OLD, alg="none"),
        public(OLD, key_ops=["encrypt"]),
        public(OLD, key_ops="verify"),
        public(OLD, kid=7),
        public(OLD, n="AQAB"),
        public(OLD, n=7),
        public(OLD, n="!!"),
        {"kty": "RSA", "kid": "old"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": ["RSA"]},
        {"kty": "unheard-of"},
        {},
        "a string",
        None,
        7,
    ],
    # Keys are made anew by each worker of the tests.
    ids=lambda entry: "-".join(map(str, entry)) if isinstance(entry, dict) else str(entry),  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - anything may be published
)
def test_what_is_no_key_for_signatures_is_left_out(entry: Any):
    read = read_keys(document(entry, public(EC)))
    assert [key.kid for key in read] == ["ec"]


def test_other_curves_and_short_keys_are_left_out():
    other = ECKey.generate_key("P-384", {"kid": "p384"})
    assert read_keys(document(public(other))) == []


def test_of_a_private_key_only_the_public_part_is_taken():
    (read,) = read_keys(document(OLD.as_dict(private=True)))
    assert not read.key.is_private


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"keys":{}}', b'{"keys":null}', b"\xff", b"[" * 5_000],
    ids=str,
)
def test_what_is_no_set_of_keys_is_a_bad_answer(body: bytes):
    with pytest.raises(BadAnswer):
        read_keys(body)


def test_more_keys_than_anybody_has_are_a_bad_answer():
    with pytest.raises(BadAnswer):
        read_keys(document(*[public(OLD)] * (module.MAX_KEYS + 1)))


@pytest.mark.parametrize(
    "secret",
    ["", "short", "a" * 31, OLD.as_pem(private=False).decode(), "ssh-rsa " + "A" * 60],
    ids=["empty", "short", "one too few", "a public key", "another"],
)
def test_a_secret_that_is_none_is_refused(secret: str):
    with pytest.raises(Misconfigured) as refused:
        SecretKey(secret)
    assert not secret or secret not in str(refused.value)


async def test_the_secret_is_not_shown_and_serves_one_algorithm():
    key = SecretKey("a-secret-of-32-bytes-and-some-more")
    assert "a-secret" not in repr(key)
    assert await key.find("any", "HS256") is not None
    assert await key.find(None, "HS512") is None
