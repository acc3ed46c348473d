"""Values of secrets that may be missing."""

from pydantic import SecretStr

from aletheia.redaction import SECRETS


def value_of(secret: SecretStr | None) -> str:
    """Return a secret without blanks around it, which no line shows from now on.

    Empty if there is none.
    """
    value = "" if secret is None else secret.get_secret_value().strip()
    SECRETS.add(value)
    return value
