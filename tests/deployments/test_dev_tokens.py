import pytest
from starlette.datastructures import Headers
from typer.testing import CliRunner

from aletheia.service.authentication import Authenticator
from aletheia.service.keys import SecretKey, VerificationKeys
from aletheia.service.parts import fixed
from aletheia.service.refusal_counts import RefusalCounts
from aletheia.service.roles import Role
from aletheia.service.settings import ServiceSettings
from deployments.cli import app
from deployments.dev_tokens import make_token

SECRET = "a-secret-of-32-bytes-and-some-more"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("claim", ["roles", "realm_access.roles", "a.b.c"])
async def test_the_service_takes_what_is_made(role: Role, claim: str):
    settings = ServiceSettings(auth_roles_claim=claim)
    token = make_token(SECRET, settings, role, user="me", minutes=5)
    keys: VerificationKeys = SecretKey(SECRET)
    authenticator = Authenticator(
        fixed(keys),
        issuer=settings.auth_issuer,
        audience=settings.auth_audience,
        roles_claim=claim,
        refusals=RefusalCounts(),
    )
    caller = await authenticator.identify(Headers({"Authorization": f"Bearer {token}"}))
    assert (caller.subject, caller.roles) == ("me", {role})


@pytest.mark.usefixtures("server")
def test_production_makes_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENVIRONMENT", "production")
    result = CliRunner().invoke(app, ["token", "--role", "admin"])
    assert result.exit_code == 1
    assert "ENVIRONMENT" in result.output
