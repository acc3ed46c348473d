import pytest
from pydantic import SecretStr

from aletheia.adapters.jwks import KeyDocument
from aletheia.errors import Misconfigured
from aletheia.service.keys import SecretKey
from blocks import ServiceCredentials

SECRET = SecretStr("a-secret-of-32-bytes-and-some-more")
URL = "https://issuer.example/jwks"


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    monkeypatch.delenv("AUTH_JWKS_URL", raising=False)


def test_tokens_are_checked_with_a_secret_or_with_what_the_issuer_publishes(
    monkeypatch: pytest.MonkeyPatch,
):
    assert isinstance(ServiceCredentials(auth_jwt_secret=SECRET).get_client(), SecretKey)
    monkeypatch.setenv("AUTH_JWKS_URL", URL)
    assert isinstance(ServiceCredentials().get_client(), KeyDocument)


def test_both_or_neither_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Misconfigured, match="nobody can sign in"):
        ServiceCredentials().get_client()
    monkeypatch.setenv("AUTH_JWKS_URL", URL)
    with pytest.raises(Misconfigured, match="one issuer"):
        ServiceCredentials(auth_jwt_secret=SECRET).get_client()


def test_a_short_secret_is_refused_and_not_shown():
    block = ServiceCredentials(auth_jwt_secret=SecretStr("short-secret"))
    with pytest.raises(Misconfigured) as refused:
        block.get_client()
    assert "short-secret" not in str(refused.value)
    assert "short-secret" not in repr(block)


@pytest.mark.parametrize("secret", [None, SecretStr(""), SecretStr("  "), SecretStr("a" * 15)])
def test_a_hook_secret_that_is_none_is_refused(secret: SecretStr | None):
    with pytest.raises(Misconfigured, match="WEBHOOK_IN_SECRET"):
        ServiceCredentials(webhook_in_secret=secret).get_hook_secret()


def test_a_hook_secret_is_returned():
    block = ServiceCredentials(webhook_in_secret=SecretStr(" a-secret-of-hooks "))
    assert block.get_hook_secret() == "a-secret-of-hooks"
