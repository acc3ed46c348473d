"""The version of what is stored, kept in the store itself, so that old programs leave it alone."""

from typing import Final

from aletheia.documents import Documents
from aletheia.errors import Misconfigured

META: Final = "aletheia_meta"
FORMAT: Final = 1
"""Of the collections and their documents; grows when a program of before could not read them."""

_ID: Final = "format"


async def check_format(documents: Documents) -> None:
    """Check that this program can read an opened store, and mark a new one with its own format.

    `Misconfigured` says that a newer version of this program wrote it. Of several programs that
    begin a store at once, the first one's format counts.
    """
    found = await documents.get(META, [_ID])
    if not found:
        await documents.insert(META, [{"_id": _ID, "version": FORMAT}])
        found = await documents.get(META, [_ID])
    version = int(found[_ID]["version"])
    if version > FORMAT:
        raise Misconfigured(
            "the store",
            f"it has format {version}, which a newer version of this program wrote; this one reads "
            f"formats up to {FORMAT}: update it, or use another store",
        )
