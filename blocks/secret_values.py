"""Values of secrets that may be missing."""

from pydantic import SecretStr


def value_of(secret: SecretStr | None) -> str:
    """Return a secret without blanks around it; empty if there is none."""
    return "" if secret is None else secret.get_secret_value().strip()
