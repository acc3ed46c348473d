"""Where the upstream is and how to sign in to it."""

from typing import Literal

from prefect.blocks.abstract import CredentialsBlock
from pydantic import Field, SecretStr

from aletheia.adapters.upstream.client import HttpUpstream
from aletheia.adapters.upstream.oauth2 import OAuth2SignIn, ory_token_url
from aletheia.adapters.upstream.sign_in import NoSignIn, SignIn, TokenSignIn
from aletheia.errors import Misconfigured
from aletheia.series import Note, forget
from aletheia.settings import IntakeSettings
from blocks.secret_values import value_of

NOBODY = "none"
"""The address of no upstream."""


class UpstreamCredentials(CredentialsBlock):
    """Where the upstream task API is and how to sign in to it."""

    _block_type_slug = "aletheia-upstream"
    _block_type_name = "Aletheia upstream"

    base_url: str = Field(
        description="Root of the API, without /api; `none` where tasks are only pushed to us."
    )
    auth: Literal["oauth2", "token", "none"] | None = Field(
        default=None,
        description="How to sign in: OAuth2 client credentials, a token, or not. Empty: `oauth2` "
        "where a client id and a token endpoint or Ory project are set, else `token` where a "
        "token is, else `none`.",
    )
    token: SecretStr | None = Field(default=None, description="Bearer token, for `token`.")
    ory_project_slug: str | None = Field(
        default=None, description="Ory project whose token endpoint is used, for `oauth2`."
    )
    oauth2_token_url: str | None = Field(
        default=None, description="Any other token endpoint, for `oauth2`; wins over Ory's."
    )
    oauth2_client_id: str | None = Field(default=None, description="Client id, for `oauth2`.")
    oauth2_client_secret: SecretStr | None = Field(
        default=None, description="Client secret, for `oauth2`."
    )
    oauth2_scope: str | None = Field(
        default=None, description="Scopes to ask for, separated by spaces, for `oauth2`."
    )
    oauth2_audience: str | None = Field(
        default=None, description="Whom the token is for, for `oauth2`."
    )
    oauth2_client_auth: Literal["basic", "post"] = Field(
        default="basic",
        description="Where the token endpoint wants the client's secret, for `oauth2`: in a header "
        "or in the form.",
    )

    @property
    def has_upstream(self) -> bool:
        """Whether there is an API to poll."""
        return self.base_url.strip().lower() != NOBODY

    def choose_auth(self) -> tuple[Literal["oauth2", "token", "none"], str]:
        """Return how to sign in, and why so (SPEC §1, Upstream auth)."""
        if self.auth is not None:
            return self.auth, "UPSTREAM_AUTH says so"
        if self.oauth2_client_id and (self.oauth2_token_url or self.ory_project_slug):
            return "oauth2", "UPSTREAM_AUTH is not set, and OAUTH2_CLIENT_ID is"
        if value_of(self.token):
            return "token", "UPSTREAM_AUTH is not set, and API_TOKEN is"
        return "none", "no credentials are set"

    def get_client(self, note: Note = forget) -> HttpUpstream:
        """Build a client, which counts by `note`; the caller opens and closes it."""
        settings = IntakeSettings()
        return HttpUpstream(
            self.base_url,
            sign_in=self._build_sign_in(settings.request_timeout, note),
            timeout_s=settings.request_timeout,
            concurrency=settings.concurrency_limit,
            max_retries=settings.max_retries,
            retry_base_s=settings.retry_base_seconds,
            note=note,
        )

    def _build_sign_in(self, timeout_s: float, note: Note) -> SignIn:
        auth, _ = self.choose_auth()
        if auth == "none":
            return NoSignIn()
        if auth == "token":
            return TokenSignIn(_required("API_TOKEN", value_of(self.token)))
        url = self.oauth2_token_url or ory_token_url(
            _required("OAUTH2_TOKEN_URL or ORY_PROJECT_SLUG", self.ory_project_slug)
        )
        return OAuth2SignIn(
            url,
            _required("OAUTH2_CLIENT_ID", self.oauth2_client_id),
            _required("OAUTH2_CLIENT_SECRET", value_of(self.oauth2_client_secret)),
            scope=self.oauth2_scope,
            audience=self.oauth2_audience,
            client_auth="client_secret_post"
            if self.oauth2_client_auth == "post"
            else "client_secret_basic",
            timeout_s=timeout_s,
            note=note,
        )


def _required(name: str, value: str | None) -> str:
    if not value:
        raise Misconfigured(name, "is needed for the chosen UPSTREAM_AUTH and is not set")
    return value
