"""Pymongo's errors, turned into ours."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_plus

from bson.errors import BSONError
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError

from aletheia.errors import Unavailable
from aletheia.store.patience import STORE

_DUPLICATE_KEY = 11000
_BAD_DOCUMENT_CODES = frozenset(
    {
        2,  # BadValue
        9,  # FailedToParse
        14,  # TypeMismatch
        15,  # Overflow
        22,  # InvalidBSON
        28,  # PathNotViable
        40,  # ConflictingUpdateOperators
        52,  # DollarPrefixedFieldName
        57,  # DottedFieldName
        10334,  # BSONObjectTooLarge
        17280,  # KeyTooLong
        17419,  # the updated document is larger than MongoDB's limit
        17420,  # the inserted one is
    }
)
"""Server errors that say what is wrong with a document or a change, not with the server."""


@contextmanager
def translating(uri: str) -> Generator[None]:
    """Turn pymongo's errors into ours.

    What a bulk error says holds the documents themselves, so only the server's words are
    taken from it.
    """
    try:
        yield
    except DocumentTooLarge as error:
        raise ValueError("a document is over the 16 MB that MongoDB holds") from error
    except (BSONError, OverflowError) as error:
        raise ValueError(f"MongoDB cannot hold this: {error}") from error
    except OperationFailure as error:
        code, said = _read_error(error)
        reason = f"{type(error).__name__}: {_redact(said, uri)} (code {code})"
        if code in _BAD_DOCUMENT_CODES:
            raise ValueError(reason) from None
        raise Unavailable(STORE, reason) from None
    except PyMongoError as error:
        said = str(error)
        # What follows is the driver's view of every server, for as long as a screen.
        brief, _, _ = said.partition(", Topology Description")
        raise Unavailable(STORE, f"{type(error).__name__}: {_redact(brief, uri)}") from (
            error if _redact(said, uri) == said else None
        )


def _redact(text: str, uri: str) -> str:
    user_info = re.match(r"[^/]*//([^@]*)@", uri)
    if user_info is None:
        return text
    for secret in [user_info[1], *user_info[1].split(":")[1:]]:
        for form in (secret, unquote_plus(secret)):
            text = text.replace(form, "***") if form else text
    return text


def indices_of_duplicates(error: BulkWriteError) -> set[int]:
    """Return the indices of the writes whose id was there already.

    Raises:
        BulkWriteError: something else went wrong.
    """
    details = error.details
    failed: list[Mapping[str, Any]] = details.get("writeErrors", [])
    if details.get("writeConcernErrors") or any(
        entry["code"] != _DUPLICATE_KEY for entry in failed
    ):
        raise error
    return {entry["index"] for entry in failed}


def _read_error(error: OperationFailure) -> tuple[int | None, str]:
    """Return the code and the words in which the server put what is wrong."""
    details = error.details or {}
    if not isinstance(error, BulkWriteError):
        return error.code, details.get("errmsg", "")
    failed: list[Mapping[str, Any]] = [
        *(entry for entry in details.get("writeErrors", []) if entry["code"] != _DUPLICATE_KEY),
        *details.get("writeConcernErrors", []),
        *details.get("writeErrors", []),
    ]
    return (failed[0]["code"], failed[0]["errmsg"]) if failed else (None, "")
