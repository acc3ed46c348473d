"""Names of projects, which every stored thing of a project carries."""

import re
from typing import Final

from aletheia.errors import InvalidTask

_PROJECT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,48}")


def check_project_id(project_id: str) -> str:
    """Return a project's id if it is safe in names of databases, channels and documents.

    `InvalidTask` says that it is not: `invalid_project_id`.
    """
    if not _PROJECT_ID.fullmatch(project_id):
        shown = f"{project_id[:60]!r}{'…' if len(project_id) > 60 else ''}"  # noqa: PLR2004 - enough to recognise it
        message = f"a project id is 1 to 48 letters, digits, _ or -, which {shown} is not"
        raise InvalidTask("invalid_project_id", message)
    return project_id
