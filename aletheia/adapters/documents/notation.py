"""What every backend means by a name, a condition, a document and a change.

Both backends read their arguments here, so that neither accepts what the other refuses. On top of
`aletheia.documents`:

- Names in conditions, changes and sorts, and the top-level names of documents, are identifiers
  (`[A-Za-z_][A-Za-z0-9_]*`), joined by dots for nested values. Names further inside a document
  are free, except that BSON cannot hold a NUL character in them.
- Values are JSON: text without lone surrogates, integers of 64 bits, finite floats, nested at
  most `MAX_DEPTH` deep.
- Conditions compare scalars. `{"$ne": None}` is the opposite of equality with `None`, so it asks
  for a value that is there. What a condition means on a name that holds or leads through a list
  is left open, as MongoDB and SQL differ there.
- Sorted ascending, missing values and `None` come first, then numbers, then strings; where other
  kinds go is left open. Descending is exactly the other way round, `_id` included.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from aletheia.documents import Change, Document, Insert, Take, Update, Upsert, Where, Write

ID = "_id"
PAYLOAD = "payload"

LAST_WRITE_S = 1.0
"""How long a store that is closed waits for what was noted to be written, seconds.

A store that is locked or away must not keep a run from ending; too little is counted then.
"""

MAX_DEPTH = 90
"""Levels of nesting; MongoDB takes 100 and counts some of its own."""

MIN_INT, MAX_INT = -(2**63), 2**63 - 1
"""What BSON and SQLite hold without loss."""

Scalar: TypeAlias = str | int | float | bool | None
Operator: TypeAlias = Literal["$eq", "$ne", "$in", "$lt", "$lte", "$gt", "$gte"]

_COLLECTION = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ORDERINGS: tuple[Operator, ...] = ("$lt", "$lte", "$gt", "$gte")


@dataclass(frozen=True, slots=True)
class Condition:
    """The value of `name` stands so to `operand`: a scalar, or with `$in` a list of them."""

    name: str
    operator: Operator
    operand: Any


def check_collection(collection: str) -> None:
    """Raise `ValueError` unless this can be the name of a collection."""
    if not _COLLECTION.fullmatch(collection):
        raise ValueError(f"{collection!r} is not a collection name: [a-z][a-z0-9_]{{0,62}}")


def check_name(name: object) -> str:
    """Return a (dotted) name of JSON values.

    Raises:
        ValueError: it is not made of identifiers, or it leads to the payload.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not a name: identifiers joined by dots")  # noqa: TRY004 - a bad name
    return _check_name(name)


@functools.lru_cache(maxsize=1024)
def _check_name(name: str) -> str:
    segments = name.split(".")
    if not all(_NAME.fullmatch(segment) for segment in segments):
        raise ValueError(f"{name!r} is not a name: identifiers joined by dots")
    if len(segments) > MAX_DEPTH:
        raise ValueError(f"a name of {len(segments)} segments is nested too deeply")
    if segments[0] == PAYLOAD:
        raise ValueError(f"{PAYLOAD!r} cannot be filtered, sorted or indexed")
    return name


def check_top_level(name: str) -> str:
    """Return a name of JSON values; `ValueError` if it is none, or leads to a nested one."""
    if "." in check_name(name):
        raise ValueError(f"{name!r} is not a top-level name")
    return name


def check_names(names: Sequence[str]) -> list[str]:
    """Return the (dotted) names an index is to have; `ValueError` if there is none, or no name."""
    _check_sequence(names, "names")
    if not names:
        raise ValueError("an index needs a name")
    return [check_name(name) for name in names]


def check_limit(limit: int | None) -> None:
    """Raise `ValueError` for a negative limit."""
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}, which is negative")


def check_ids(ids: Sequence[str]) -> list[str]:
    """Return the different ids among these, in order."""
    _check_sequence(ids, "ids")
    return list(dict.fromkeys(_check_id(id_) for id_ in ids))


def read_where(where: Where) -> list[Condition]:
    """Read conditions that must all hold.

    Raises:
        ValueError: a name, an operator or an operand is not of the notation.
    """
    conditions: list[Condition] = []
    for name, wanted in where.items():
        checked = check_name(name)
        if not isinstance(wanted, Mapping):
            conditions.append(Condition(checked, "$eq", _scalar(checked, wanted)))
            continue
        operators = cast("Mapping[object, Any]", wanted)
        if not operators:
            raise ValueError(f"the condition on {name!r} has no operator")
        conditions += [_condition(checked, *condition) for condition in operators.items()]
    return conditions


def check_documents(documents: Iterable[Document]) -> list[Document]:
    """Return the documents with different ids, the first of each.

    Raises:
        ValueError: one of them cannot be stored by every backend.
    """
    first: dict[str, Document] = {}
    for document in documents:
        id_ = _check_id(document.get(ID))
        for name, value in document.items():
            if "." in name:
                raise ValueError(f"{name!r} has a dot, which only leads to values inside others")
            _check_entry(name, value)
        first.setdefault(id_, document)
    return list(first.values())


def check_updates(updates: Sequence[Update], *, is_upsert: bool = False) -> None:
    """Raise `ValueError` for an update that not every backend can make."""
    # Updates of a batch mostly share a change, which is checked once.
    for change in {id(update.change): update.change for update in updates}.values():
        check_change(change)
    for update in updates:
        _check_id(update.id)
        if is_upsert and update.where:
            raise ValueError(f"an upsert of {update.id!r} cannot have conditions")


def check_writes(writes: Sequence[Write]) -> None:
    """Check the writes of a group; raises as the checks of each."""
    for write in writes:
        check_collection(write.collection)
        match write:
            case Insert():
                check_documents(write.documents)
            case Upsert():
                check_updates(write.updates, is_upsert=True)
            case Take():
                read_where(write.where)
                check_change(write.change)


def check_change(change: Change) -> None:
    """Raise `ValueError` for a change that not every backend can make."""
    for name, value in change.set.items():
        _check_changed(name)
        _check_entry(name, value)
    _check_sequence(change.unset, "unset")
    for name in change.unset:
        _check_changed(name)
    for name, amount in change.increase.items():
        _check_changed(name)
        if (
            name == PAYLOAD
            or isinstance(amount, bool)
            or not isinstance(cast("object", amount), int | float)
        ):
            raise ValueError(f"{name!r} cannot be increased by {amount!r}")
        check_value(amount, name)
    _check_conflicts((*change.set, *dict.fromkeys(change.unset), *change.increase))


def check_value(value: object, name: str, depth: int = 1) -> None:
    """Raise `ValueError` for a value that is not JSON as every backend can hold it.

    `name` is for the message, which never quotes values; `depth` counts the levels above it.
    """
    if type(value) is str and value.isascii():
        return  # most values are, and a match takes ten times as long
    match value:
        case None | bool():
            pass
        case str():
            _check_text(value, name)
        case int():
            if not MIN_INT <= value <= MAX_INT:
                raise ValueError(f"{name!r} holds an integer of more than 64 bits")
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{name!r} holds {value}, which JSON has no form for")
        case dict() | list() | tuple():
            _check_nested(cast("dict[object, object] | Sequence[object]", value), name, depth)
        case _:
            raise ValueError(f"{name!r} holds a {type(value).__name__}, which JSON has no form for")


def _check_sequence(names: Sequence[str], what: str) -> None:
    """Refuse a string where strings are wanted: each character would be taken for one."""
    if isinstance(names, str):
        raise ValueError(f"{what} is the string {names!r}, not a list of strings")  # noqa: TRY004 - bad names


def _check_nested(value: dict[object, object] | Sequence[object], name: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise ValueError(f"{name!r} is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise ValueError(f"{name!r} holds a key that is not a string")
            if "\0" in key:
                raise ValueError(f"{name!r} holds a key with a NUL character")
            _check_text(key, name)
        value = list(value.values())
    for inner in value:
        check_value(inner, name, depth + 1)


def _check_text(text: str, name: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        # The codec's own error carries the whole text along.
        message = f"{name!r} holds text with a lone surrogate"
        raise ValueError(message) from None


def _check_id(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not an id: a string")  # noqa: TRY004 - a bad document
    _check_text(value, ID)
    return value


def _check_entry(name: object, value: object) -> None:
    """Check one (dotted) name with the value it is to have."""
    if name == PAYLOAD:
        if not isinstance(value, bytes):
            raise ValueError(f"{PAYLOAD!r} is a {type(value).__name__}, not bytes")
        return
    checked = check_name(name)
    check_value(value, checked, 1 + checked.count("."))


def _check_changed(name: object) -> None:
    if name == PAYLOAD:
        return
    if check_name(name).split(".")[0] == ID:
        raise ValueError(f"{name!r} cannot be changed")


@functools.lru_cache(maxsize=1024)
def _check_conflicts(names: tuple[str, ...]) -> None:
    """Refuse a change that names a value twice, or a value and something inside it."""
    taken: set[str] = set()
    for name in sorted(names):
        segments = name.split(".")
        if not taken.isdisjoint(".".join(segments[:end]) for end in range(1, len(segments) + 1)):
            raise ValueError(f"{name!r} is changed in two ways at once")
        taken.add(name)


def _condition(name: str, operator: object, operand: object) -> Condition:
    if operator == "$in":
        if not isinstance(operand, list | tuple | set | frozenset):
            raise ValueError(f"$in on {name!r} takes a list")
        operands = cast("Iterable[object]", operand)
        return Condition(name, "$in", [_scalar(name, scalar) for scalar in operands])
    if operator == "$ne":
        return Condition(name, "$ne", _scalar(name, operand))
    if operator in _ORDERINGS:
        scalar = _scalar(name, operand)
        if scalar is None or isinstance(scalar, bool):
            raise ValueError(f"{operator} on {name!r} takes a number or a string")
        return Condition(name, operator, scalar)
    raise ValueError(f"{operator!r} on {name!r} is not an operator of this store")


def _scalar(name: str, operand: object) -> Scalar:
    if operand is None or isinstance(operand, str | int | float):
        check_value(operand, name)
        return operand
    raise ValueError(f"{name!r} is compared with a {type(operand).__name__}, not a scalar")
