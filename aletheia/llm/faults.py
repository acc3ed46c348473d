"""Why something of an answer was not used."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something of an answer was not used."""

    code: str  # stable, such as `half_json` or `wrong_language`
    message: str
