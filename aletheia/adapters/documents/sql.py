"""Conditions and documents as SQLite takes them: SQL over `json_extract`, JSON text.

A document is one row `(key, id, body)`, its body the JSON object without `_id` and `payload`. An
index is on the very expressions that conditions compile to, followed by `id`, so that a sort by
the last indexed name needs no work either.

Text in which SQLite would lose something is stored escaped: up to 3.41, `json_extract` ends a
string at its first NUL. NUL and U+0001 become pairs beginning with U+0001, which keeps their
order, too.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import orjson

from aletheia.adapters.documents.notation import ID, PAYLOAD, Condition, Scalar, read_where
from aletheia.documents import Document, Where

Clause = tuple[str, list[str]]
"""SQL with its parameters, all of them text."""

_NUMBER = "IN ('integer', 'real')"
_TEXT = "= 'text'"
_NOTHING: Clause = ("0", [])
_AMONG = "IN (SELECT value FROM json_each(?))"
_NUMBER_OPERAND = "json_extract(?, '$')"
"""Read by the code that reads the stored number, so that equal ones stay equal on every build."""
_OPERATORS = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}


def value_of(name: str) -> str:
    """Write the expression for the value of a checked name; missing and null are NULL."""
    return "id" if name == ID else f"json_extract(body, '$.{name}')"


def filter_of(where: Where) -> Clause:
    """Write conditions that must all hold as an expression."""
    clauses = [_clause(condition) for condition in read_where(where)]
    return _join(" AND ", clauses) if clauses else ("1", [])


def order_of(sort: str | None, *, is_descending: bool = False) -> str:
    """Write the terms of an ORDER BY: one checked name, then the id."""
    direction = "DESC" if is_descending else "ASC"
    names = [ID] if sort is None or sort == ID else [sort, ID]
    return ", ".join(f"{value_of(name)} {direction}" for name in names)


def string_filter_of(name: str) -> str:
    """Write that the value of a checked name is a string; an index on it decides nearly always."""
    if name == ID:
        return "1"
    value = value_of(name)
    return (
        f"{value} >= '' AND (substr({value}, 1, 1) NOT IN ('[', '{{') OR {_kind_of(name)} {_TEXT})"
    )


def body_of(document: Document) -> str:
    """Write the JSON object of a checked document."""
    body = {name: value for name, value in document.items() if name not in (ID, PAYLOAD)}
    text = orjson.dumps(body, default=_plain)
    if b"\\u0000" in text or b"\\u0001" in text:
        text = orjson.dumps(_with_strings(body, escape), default=_plain)
    return text.decode()


def document_of(id_: str, body: str) -> Document:
    """Read a document, without its payload, from its row."""
    document = cast("Document", orjson.loads(body))
    if "\\u0001" in body:
        document = cast("Document", _with_strings(document, unescape))
    return {ID: unescape(id_), **document}


def escape(text: str) -> str:
    """Write text without NUL so that it can be restored and sorts as before."""
    return text.replace("\1", "\1\2").replace("\0", "\1\1")


def unescape(text: str) -> str:
    """Read escaped text."""
    return text.replace("\1\1", "\0").replace("\1\2", "\1")


def json_of(values: Iterable[str | float]) -> str:
    """Write values as the JSON list that `json_each` takes apart again."""
    return orjson.dumps(
        [escape(value) if isinstance(value, str) else value for value in values]
    ).decode()


def _clause(condition: Condition) -> Clause:
    name, operand = condition.name, condition.operand
    match condition.operator:
        case "$eq":
            return _equal(name, operand)
        case "$ne":
            sql, parameters = _equal(name, operand)
            return f"({sql}) IS NOT TRUE", parameters
        case "$in":
            return _among(name, operand)
        case operator:
            return _ordered(name, _OPERATORS[operator], operand)


def _equal(name: str, operand: Scalar) -> Clause:
    value = value_of(name)
    if operand is None:
        return f"{value} IS NULL", []
    if isinstance(operand, str):
        return _with_kind(f"{value} = ?", _TEXT, name, [operand]), [escape(operand)]
    if name == ID:
        return _NOTHING
    if isinstance(operand, bool):
        return f"{value} = {operand:d} AND {_kind_of(name)} = '{str(operand).lower()}'", []
    number = orjson.dumps(operand).decode()
    return _with_kind(f"{value} = {_NUMBER_OPERAND}", _NUMBER, name, [operand]), [number]


def _among(name: str, operands: Sequence[Scalar]) -> Clause:
    clauses = [
        _equal(name, constant)
        for constant in (None, True, False)
        if any(constant is operand for operand in operands)
    ]
    texts = [operand for operand in operands if isinstance(operand, str)]
    numbers = [
        operand
        for operand in operands
        if isinstance(operand, int | float) and not isinstance(operand, bool)
    ]
    among = f"{value_of(name)} {_AMONG}"
    if texts:
        clauses.append((_with_kind(among, _TEXT, name, texts), [json_of(texts)]))
    if numbers and name != ID:
        clauses.append((_with_kind(among, _NUMBER, name, numbers), [json_of(numbers)]))
    return _join(" OR ", clauses) if clauses else _NOTHING


def _join(operator: str, clauses: Sequence[Clause]) -> Clause:
    return (
        operator.join(f"({sql})" for sql, _ in clauses),
        [parameter for _, parameters in clauses for parameter in parameters],
    )


def _ordered(name: str, operator: str, operand: str | float) -> Clause:
    compared = f"{value_of(name)} {operator}"
    if name == ID:
        return (f"{compared} ?", [escape(operand)]) if isinstance(operand, str) else _NOTHING
    if isinstance(operand, str):
        return f"{compared} ? AND {_kind_of(name)} {_TEXT}", [escape(operand)]
    number = orjson.dumps(operand).decode()
    return f"{compared} {_NUMBER_OPERAND} AND {_kind_of(name)} {_NUMBER}", [number]


def _kind_of(name: str) -> str:
    return f"json_type(body, '$.{name}')"


def _with_kind(sql: str, kind: str, name: str, operands: Sequence[str | float]) -> str:
    """Add the kind of value to an equality, where values of another kind could look the same.

    `json_extract` gives lists and objects as JSON text, and booleans as 0 and 1. Everywhere else
    the index alone decides, without reading the row.
    """
    is_ambiguous = any(
        operand.startswith(("[", "{")) if isinstance(operand, str) else operand in (0, 1)
        for operand in operands
    )
    return f"{sql} AND {_kind_of(name)} {kind}" if is_ambiguous and name != ID else sql


def _plain(value: object) -> float:
    """Turn a subclass of float, such as numpy's, into what orjson knows."""
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _with_strings(value: Any, convert: Callable[[str], str]) -> Any:
    """Copy a JSON value with every string in it, names aside, converted."""
    if isinstance(value, str):
        return convert(value)
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {name: _with_strings(inner, convert) for name, inner in entries.items()}
    if isinstance(value, list | tuple):
        return [_with_strings(inner, convert) for inner in cast("Sequence[Any]", value)]
    return value
