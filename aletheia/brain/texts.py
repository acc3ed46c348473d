"""Texts, ids and names in a form that every backend can keep."""

import hashlib
import json
from dataclasses import replace
from typing import Final

from aletheia.brain.ports import BrainDepartment, BrainItem, KnownItem
from aletheia.items.content import SavedItem

MAX_ID_BYTES: Final = 1000
"""Longest id; Neo4j indexes no more than some 8,000 bytes of a text."""


def escape_text(text: str) -> str:
    """Return a text with question marks for half surrogates, which are not UTF-8."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def escape_department(department: BrainDepartment) -> BrainDepartment:
    """Return a department with `escape_text` of all its texts."""
    return replace(
        department,
        slug=escape_text(department.slug),
        name=escape_text(department.name),
        description=escape_text(department.description),
    )


def is_id(item_id: str) -> bool:
    """Check whether every backend can keep an id: 1 to `MAX_ID_BYTES` of UTF-8."""
    try:
        return 0 < len(item_id.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:
        return False


def fingerprint_of(item: BrainItem | KnownItem | SavedItem) -> str:
    """Return a hash of all that is indexed of an item but its vector: 32 hexadecimal digits."""
    texts = json.dumps([escape_text(text) for text in (item.content, item.summary, item.context)])
    return hashlib.sha256(texts.encode()).hexdigest()[:32]
