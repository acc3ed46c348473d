"""Where the service listens, and whom it lets in: settings as those in `aletheia.settings`."""

from pydantic import Field

from aletheia.settings import Settings


class ServiceSettings(Settings):
    """Where the service listens, and whom it lets in."""

    metrics_port: int = Field(
        default=8001, ge=1, le=65_535, description="Port of `aletheia serve`."
    )
    service_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address that `aletheia serve` listens on; `0.0.0.0` is every one.",
    )
    auth_jwks_url: str | None = Field(
        default=None,
        description="Where the issuer publishes the keys of its tokens (RS256, ES256), with https; "
        "empty: tokens are signed with AUTH_JWT_SECRET (HS256).",
    )
    auth_issuer: str = Field(
        default="aletheia", min_length=1, description="Issuer (`iss`) that tokens must name."
    )
    auth_audience: str = Field(
        default="aletheia", min_length=1, description="Audience (`aud`) that tokens must name."
    )
    auth_roles_claim: str = Field(
        default="roles",
        min_length=1,
        description="Claim with the list of roles; dots lead into objects, such as "
        "`realm_access.roles`.",
    )
    service_allowed_origins: str = Field(
        default="",
        description="Origins of pages, with commas between them, that may call the service beside "
        "its own, such as `https://app.example.com`.",
    )
    service_max_sockets: int = Field(
        default=2048,
        ge=2,
        le=65_536,
        description="WebSockets and event streams open at once; one caller has half of them at "
        "most.",
    )
    hook_retention_days: float = Field(
        default=30, gt=0, description="How long deliveries to `/hooks/` are kept, days."
    )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins that are allowed by name."""
        origins = (origin.strip() for origin in self.service_allowed_origins.split(","))
        return tuple(origin.rstrip("/") for origin in origins if origin)
