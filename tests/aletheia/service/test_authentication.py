"""Tokens as strangers make them: none of them lets anybody in."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.datastructures import Headers

from aletheia.errors import AletheiaError, Misconfigured, Unavailable
from aletheia.service.authentication import Authenticator, check_roles, read_roles
from aletheia.service.keys import PublishedKeys, SecretKey, VerificationKeys
from aletheia.service.parts import Part, fixed, missing
from aletheia.service.refusal_counts import RefusalCounts
from aletheia.service.refusals import ServiceError
from aletheia.service.roles import MANAGERS, OPERATORS, READERS, Caller, Role
from tests.fakes.service import AUDIENCE, ISSUER, SECRET, Client, make_claims, make_token

RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
PUBLIC_PEM = RSA.as_pem(private=False)


async def publish() -> bytes:
    keys = [key.as_dict(private=False) for key in (RSA, EC)]
    return json.dumps({"keys": keys}).encode()


def authenticate_by(keys: VerificationKeys, claim: str = "roles") -> Authenticator:
    return Authenticator(
        fixed(keys),
        issuer=ISSUER,
        audience=AUDIENCE,
        roles_claim=claim,
        refusals=RefusalCounts(),
    )


BY_SECRET = authenticate_by(SecretKey(SECRET))


def by_issuer() -> Authenticator:
    return authenticate_by(PublishedKeys(publish))


async def identify(authenticator: Authenticator, token: str) -> Caller:
    return await authenticator.identify(Headers({"Authorization": f"Bearer {token}"}))


async def refusal_of(authenticator: Authenticator, token: str) -> tuple[int, str]:
    with pytest.raises(ServiceError) as refused:
        await identify(authenticator, token)
    return refused.value.status_code, refused.value.code


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def sign_by_hand(header: Any, claims: Any, secret: bytes = SECRET.encode()) -> str:
    """Sign whatever header and claims, as a stranger who knows the key would."""
    signed = f"{part(header)}.{part(claims)}"
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{part(digest)}"


def with_header(**names: Any) -> str:
    return sign_by_hand({"alg": "HS256", **names}, make_claims())


NOW = int(time.time())
DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000

HOSTILE: dict[str, Callable[[], str]] = {
    "no algorithm, no signature": lambda: f"{part({'alg': 'none'})}.{part(make_claims())}.",
    "no algorithm, with a signature": lambda: sign_by_hand({"alg": "none"}, make_claims()),
    "NONE": lambda: sign_by_hand({"alg": "NONE"}, make_claims()),
    "an algorithm that is not configured": lambda: jwt.encode(
        {"alg": "HS512"}, make_claims(), OctKey.import_key(SECRET * 2), algorithms=["HS512"]
    ),
    "RS256 where the secret is configured": lambda: jwt.encode(
        {"alg": "RS256"}, make_claims(), RSA, algorithms=["RS256"]
    ),
    "an empty algorithm": lambda: sign_by_hand({"alg": ""}, make_claims()),
    "an algorithm that is a number": lambda: sign_by_hand({"alg": 256}, make_claims()),
    "an algorithm that is a list": lambda: sign_by_hand({"alg": ["HS256"]}, make_claims()),
    "a header without algorithm": lambda: sign_by_hand({"typ": "JWT"}, make_claims()),
    "another secret": lambda: sign_by_hand({"alg": "HS256"}, make_claims(), b"guessed" * 8),
    "an empty secret": lambda: sign_by_hand({"alg": "HS256"}, make_claims(), b""),
    "crit": lambda: with_header(crit=["exp"]),
    "crit that is empty": lambda: with_header(crit=[]),
    "crit and b64": lambda: with_header(crit=["b64"], b64=False),
    "b64 alone": lambda: with_header(b64=False),
    "a key in the token": lambda: with_header(
        jwk={"kty": "oct", "k": part(b"a-key-of-a-stranger-of-32-bytes!!")}
    ),
    "an address of keys in the token": lambda: with_header(jku="https://evil.example/jwks"),
    "a certificate in the token": lambda: with_header(x5c=["MIIB"]),
    "an address of a certificate": lambda: with_header(x5u="https://evil.example/cert"),
    "compressed": lambda: with_header(zip="DEF"),
    "an unknown name in the header": lambda: with_header(admin="true"),
    "a nested header": lambda: sign_by_hand({"alg": {"alg": "HS256"}}, make_claims()),
    "a header that is a list": lambda: sign_by_hand(["HS256"], make_claims()),
    "a header that is no JSON": lambda: sign_by_hand(b"{alg:HS256}", make_claims()),
    "a header with a name twice": lambda: sign_by_hand(
        b'{"alg":"none","alg":"HS256"}', make_claims()
    ),
    "a header without an end": lambda: sign_by_hand(DEEP[:600], make_claims()),
    "a token of another type": lambda: with_header(typ="secevent+jwt"),
    "expired": lambda: make_token(exp=NOW - 60),
    "expired for ever": lambda: make_token(exp=0),
    "no expiry": lambda: make_token(exp=None),
    "an expiry that is a string": lambda: make_token(exp="2099-01-01"),
    "an expiry that is true": lambda: make_token(exp=True),
    "an expiry that is no number": lambda: sign_by_hand(
        {"alg": "HS256"}, json.dumps(make_claims(exp=float("nan"))).encode()
    ),
    "not yet valid": lambda: make_token(nbf=int(time.time()) + 600),
    "issued in the future": lambda: make_token(iat=int(time.time()) + 600),
    "another audience": lambda: make_token(aud="another"),
    "no audience": lambda: make_token(aud=None),
    "audiences without ours": lambda: make_token(aud=["a", "b"]),
    "an audience that contains ours": lambda: make_token(aud=f"{AUDIENCE}-admin"),
    "an audience that is an object": lambda: make_token(aud={"aud": AUDIENCE}),
    "another issuer": lambda: make_token(iss="https://evil.example"),
    "an issuer that begins as ours": lambda: make_token(iss=f"{ISSUER}.evil.example"),
    "issuers in a list": lambda: make_token(iss=[ISSUER]),
    "no issuer": lambda: make_token(iss=None),
    "no subject": lambda: make_token(sub=None),
    "a subject with line ends": lambda: make_token(sub="a\nadmin"),
    "a subject that is a number": lambda: make_token(sub=1),
    "a huge subject": lambda: make_token(sub="a" * 1_000),
    "a role as a string": lambda: make_token(roles="admin"),
    "a role in a longer string": lambda: make_token(roles="not-an-admin"),
    "roles as an object": lambda: make_token(roles={"admin": True}),
    "roles that are numbers": lambda: make_token(roles=[1, 2]),
    "roles in lists": lambda: make_token(roles=[["admin"]]),
    "more roles than anybody has": lambda: make_token(*["admin"] * 1_000),
    "claims that are a list": lambda: sign_by_hand({"alg": "HS256"}, [make_claims()]),
    "claims that are no JSON": lambda: sign_by_hand({"alg": "HS256"}, b"\xff\xfe"),
    "claims without an end": lambda: sign_by_hand({"alg": "HS256"}, DEEP[:4_000]),
    "a number without an end": lambda: sign_by_hand(
        {"alg": "HS256"}, b'{"exp":' + b"9" * 5_000 + b"}"
    ),
    "a huge token": lambda: make_token(more="a" * 10_000),
    "a huge header": lambda: with_header(kid="k" * 2_000),
    "two parts": lambda: make_token().rsplit(".", 1)[0],
    "four parts": lambda: f"{make_token()}.AAAA",
    "five parts, as if encrypted": lambda: ".".join(["AAAA"] * 5),
    "a signature that was cut": lambda: make_token()[:-4],
    "a signature of another token": lambda: ".".join(
        [*make_token("viewer").split(".")[:2], make_token("admin").split(".")[2]]
    ),
    "claims that were changed": lambda: ".".join(
        [make_token().split(".")[0], part(make_claims("admin")), make_token().split(".")[2]]
    ),
    "padding": lambda: f"{make_token()}==",
    "blanks inside": lambda: make_token().replace(".", ". ", 1),
    "outside of base64": lambda: make_token().replace(".", "!.", 1),
    "beyond ASCII": lambda: f"{make_token()}ä",
    "a null": lambda: f"{make_token()}\0",
    "no token at all": lambda: "..",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_token_lets_nobody_in(name: str):
    status, code = await refusal_of(BY_SECRET, HOSTILE[name]())
    assert (status, code) in {(401, "invalid_token"), (401, "expired_token")}


def test_there_are_enough_hostile_tokens():
    assert len(HOSTILE) >= 40


HOSTILE_TO_PUBLISHED: dict[str, Callable[[], str]] = {
    "the public key as a secret": lambda: sign_by_hand(
        {"alg": "HS256", "kid": "rsa-1"}, make_claims(), PUBLIC_PEM
    ),
    "the public key's JSON as a secret": lambda: sign_by_hand(
        {"alg": "HS256", "kid": "rsa-1"},
        make_claims(),
        json.dumps(RSA.as_dict(private=False)).encode(),
    ),
    "the modulus as a secret": lambda: sign_by_hand(
        {"alg": "HS256", "kid": "rsa-1"},
        make_claims(),
        str(RSA.as_dict(private=False)["n"]).encode(),
    ),
    "another key of the same name": lambda: jwt.encode(
        {"alg": "RS256", "kid": "rsa-1"}, make_claims("admin"), OTHER_RSA, algorithms=["RS256"]
    ),
    "a key that nobody published": lambda: jwt.encode(
        {"alg": "RS256", "kid": "unknown"}, make_claims(), RSA, algorithms=["RS256"]
    ),
    "a key for another algorithm": lambda: jwt.encode(
        {"alg": "PS256", "kid": "rsa-1"}, make_claims(), RSA, algorithms=["PS256"]
    ),
    "an elliptic key under the name of the other": lambda: jwt.encode(
        {"alg": "ES256", "kid": "rsa-1"}, make_claims(), EC, algorithms=["ES256"]
    ),
    "RS256 by the name of an elliptic key": lambda: jwt.encode(
        {"alg": "RS256", "kid": "ec-1"}, make_claims(), RSA, algorithms=["RS256"]
    ),
    "its own key in the header": lambda: jwt.encode(
        {"alg": "RS256", "kid": "rsa-1", "jwk": OTHER_RSA.as_dict(private=False)},
        make_claims(),
        OTHER_RSA,
        algorithms=["RS256"],
    ),
    "a name of a key that is a path": lambda: jwt.encode(
        {"alg": "RS256", "kid": "../../etc/passwd"}, make_claims(), RSA, algorithms=["RS256"]
    ),
    "an elliptic signature of zeros": lambda: ".".join(
        [part({"alg": "ES256", "kid": "ec-1"}), part(make_claims()), part(bytes(64))]
    ),
}


@pytest.mark.parametrize("name", HOSTILE_TO_PUBLISHED)
async def test_a_token_that_is_not_the_issuers_lets_nobody_in(name: str):
    assert await refusal_of(by_issuer(), HOSTILE_TO_PUBLISHED[name]()) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("algorithm", "key"), [("RS256", RSA), ("ES256", EC)], ids=["RS256", "ES256"]
)
async def test_tokens_of_the_issuer_are_taken(algorithm: str, key: RSAKey | ECKey):
    for header in ({"kid": key.kid}, {}):
        token = jwt.encode(
            {"alg": algorithm, **header}, make_claims("operator"), key, algorithms=[algorithm]
        )
        caller = await identify(by_issuer(), token)
        assert (caller.subject, caller.roles) == ("somebody", {Role.OPERATOR})


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": [AUDIENCE, "another"]},
        pytest.param({"nbf": NOW - 10}, id="good since a while ago"),
        {"exp": 10**300},
        {"roles": ["viewer", "something-else"]},
    ],
    ids=str,
)
async def test_a_good_token_is_taken(claims: dict[str, Any]):
    caller = await identify(BY_SECRET, make_token(**claims))
    assert caller.roles == {Role.VIEWER}


async def test_clocks_may_differ_a_little():
    caller = await identify(BY_SECRET, make_token(exp=int(time.time()) - 5))
    assert caller.subject == "somebody"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_read_in_any_case(scheme: str):
    headers = Headers({"Authorization": f"{scheme} {make_token()}"})
    assert (await BY_SECRET.identify(headers)).subject == "somebody"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Basic YTpi"}],
    ids=str,
)
async def test_who_sends_no_token_is_told_how(headers: dict[str, str]):
    with pytest.raises(ServiceError) as refused:
        await BY_SECRET.identify(Headers(headers))
    assert (refused.value.status_code, refused.value.code) == (401, "missing_token")
    assert (refused.value.headers or {})["WWW-Authenticate"] == "Bearer"


async def test_two_tokens_are_one_too_many():
    raw = [(b"authorization", f"Bearer {make_token()}".encode())] * 2
    with pytest.raises(ServiceError) as refused:
        await BY_SECRET.identify(Headers(raw=raw))
    assert refused.value.code == "invalid_token"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Misconfigured("AUTH_JWT_SECRET", "is not set"), "no_authentication_configured"),
        (Unavailable("prefect", "away"), "keys_unavailable"),
    ],
    ids=["not set up", "away"],
)
async def test_without_keys_nobody_is_let_in(error: AletheiaError, code: str):
    keys: Part[VerificationKeys] = missing(error)
    authenticator = Authenticator(
        keys, issuer=ISSUER, audience=AUDIENCE, roles_claim="roles", refusals=RefusalCounts()
    )
    assert await refusal_of(authenticator, make_token("admin")) == (503, code)


async def test_a_token_without_our_roles_is_somebodys_who_may_do_nothing():
    named: list[list[str] | None] = [None, [], ["ADMIN", "root"]]
    for roles in named:
        caller = await identify(BY_SECRET, make_token(roles=roles))
        assert caller.roles == frozenset()
        for allowed in (READERS, OPERATORS, MANAGERS):
            with pytest.raises(ServiceError) as refused:
                check_roles(caller, allowed)
            assert refused.value.status_code == 403


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("roles", {"roles": ["admin"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["admin"]}}),
        ("https://example.com/roles", {"https://example.com/roles": ["admin"]}),
    ],
)
def test_roles_are_found_where_the_issuer_has_them(claim: str, claims: dict[str, Any]):
    assert read_roles(claims, claim) == {Role.ADMIN}


@pytest.mark.parametrize("value", [None, {}, {"realm_access": None}, {"realm_access": "roles"}])
def test_roles_that_are_nowhere_are_none(value: dict[str, Any] | None):
    assert read_roles(value or {}, "realm_access.roles") == frozenset()


READS = "/api/v1/dead-letters"


@pytest.mark.parametrize(
    ("role", "read", "act"),
    [("admin", 200, 200), ("manager", 200, 200), ("operator", 200, 200), ("viewer", 200, 403)],
)
async def test_each_role_may_what_it_may(client: Client, role: str, read: int, act: int):
    other = client.as_role(role)
    assert (await other.get(READS))[0] == read
    assert (await other.call("POST", "/api/v1/intake/pause"))[0] == act


async def test_a_refusal_names_neither_token_nor_reason(
    client: Client, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("DEBUG"):
        for name in ("another secret", "another audience", "a role as a string"):
            token = HOSTILE[name]()
            client.headers = {"Authorization": f"Bearer {token}"}
            status, answer = await client.get(READS)
            assert (status, answer["error"]["message"]) == (401, "the token is not valid here")
            assert token not in caplog.text
            assert token.split(".")[2] not in caplog.text
    assert caplog.text.count("invalid_token") == 3
