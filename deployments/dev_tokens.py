"""The command `token`: a short-lived token for development, where no issuer is set up."""

from typing import Annotated, Final

import typer
from joserfc import jwt
from joserfc.jwk import OctKey

from aletheia.errors import Misconfigured
from aletheia.service.keys import SecretKey
from aletheia.service.roles import Role
from aletheia.service.settings import ServiceSettings
from aletheia.settings import EmbeddingSettings
from aletheia.store.clock import SYSTEM_CLOCK
from blocks import ServiceCredentials
from blocks.secret_values import value_of
from blocks.service import TOKEN_SECRET
from deployments.explaining import say
from deployments.runs import in_session
from tasks.session import load_block

MAX_MINUTES: Final = 60

app = typer.Typer()


@app.command()
@in_session
async def token(
    role: Annotated[Role, typer.Option(help="What its bearer may do.")] = Role.VIEWER,
    minutes: Annotated[int, typer.Option(min=1, max=MAX_MINUTES, help="How long it is good.")] = 15,
    user: Annotated[str, typer.Option(help="Whom it is for.")] = "developer",
) -> None:
    """Print a token for the service on this machine; for development only."""
    if EmbeddingSettings().environment == "production":
        reason = "is production, where tokens come from the issuer; this command makes none"
        raise Misconfigured("ENVIRONMENT", reason)
    credentials = await load_block(ServiceCredentials)
    if not isinstance(credentials.get_client(), SecretKey):
        reason = "is not set: tokens are the issuer's, whose keys AUTH_JWKS_URL names"
        raise Misconfigured(TOKEN_SECRET, reason)
    secret = value_of(credentials.auth_jwt_secret)
    say(make_token(secret, ServiceSettings(), role, user=user, minutes=minutes))


def make_token(
    secret: str, settings: ServiceSettings, role: Role, *, user: str, minutes: int
) -> str:
    """Return a token that the service takes for some minutes."""
    now_s = int(SYSTEM_CLOCK.unix_s())
    roles: object = [str(role)]
    # As the service looks for them: dots lead into objects.
    for name in reversed(settings.auth_roles_claim.split(".")[1:]):
        roles = {name: roles}
    claims = {
        "iss": settings.auth_issuer,
        "aud": settings.auth_audience,
        "sub": user,
        "iat": now_s,
        "exp": now_s + 60 * minutes,
        settings.auth_roles_claim.split(".")[0]: roles,
    }
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret), algorithms=["HS256"])
