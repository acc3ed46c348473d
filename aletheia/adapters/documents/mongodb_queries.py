"""Conditions, changes and documents as MongoDB takes them, and the time it has."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import bson
from bson import CodecOptions, DBRef, Int64
from bson.codec_options import TypeDecoder, TypeRegistry
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase

from aletheia.adapters.documents.notation import ID, Condition, read_where
from aletheia.documents import Change, Document, Update, Where

MAX_BYTES = 16 * 2**20
"""Largest document MongoDB holds, in BSON."""

CLOCK_PROBES = 3


class _Plain(TypeDecoder):
    """Reads values of a type of BSON's as what they were when written."""

    def __init__(self, bson_type: type[Any], convert: Callable[[Any], Any]) -> None:
        self._bson_type, self._convert = bson_type, convert

    @property
    def bson_type(self) -> type[Any]:
        return self._bson_type

    def transform_bson(self, value: Any) -> Any:
        return self._convert(value)


CODEC: CodecOptions[Document] = CodecOptions(
    # An object with the keys `$ref` and `$id` is nothing but the JSON object that it was.
    type_registry=TypeRegistry([_Plain(Int64, int), _Plain(DBRef, lambda ref: dict(ref.as_doc()))])
)


def encode_document(document: Document) -> RawBSONDocument:
    """Return a document encoded, so that it is encoded once.

    Raises:
        ValueError: it is larger than MongoDB holds.
    """
    encoded = bson.encode(document, codec_options=CODEC)
    if len(encoded) > MAX_BYTES:
        raise ValueError(
            f"document {document[ID]!r} of {len(encoded)} bytes is over the 16 MB that MongoDB "
            "holds"
        )
    return RawBSONDocument(encoded)


def filter_of(where: Where) -> dict[str, Any]:
    """Write conditions that must all hold as a filter."""
    clauses = [{condition.name: _wanted_of(condition)} for condition in read_where(where)]
    flat = {name: wanted for clause in clauses for name, wanted in clause.items()}
    return flat if len(flat) == len(clauses) else {"$and": clauses}


def _wanted_of(condition: Condition) -> Any:
    match condition.operator:
        case "$eq":
            return condition.operand
        case "$ne" | "$in":
            return {condition.operator: condition.operand}
        case _:
            # Not every compatible service keeps to the operand's own kind by itself.
            kind = "string" if isinstance(condition.operand, str) else "number"
            return {condition.operator: condition.operand, "$type": kind}


def filter_of_update(update: Update) -> dict[str, Any]:
    """Write an update's id and condition as a filter."""
    chosen = filter_of(update.where)
    by_id = {ID: update.id}
    return {"$and": [by_id, chosen]} if ID in chosen else by_id | chosen


def operators_of(change: Change) -> dict[str, Any]:
    """Write a change as update operators; none at all is one without an effect."""
    operators: dict[str, Any] = {
        "$set": dict(change.set),
        "$unset": dict.fromkeys(change.unset, ""),
        "$inc": dict(change.increase),
    }
    given = {operator: names for operator, names in operators.items() if names}
    return given or {"$unset": {"aletheia_nothing": ""}}


def rounds_of(ids: Sequence[str]) -> list[list[int]]:
    """Return indices in parts in which no id comes twice; those of one id stay in order."""
    rounds: list[list[int]] = []
    seen: Counter[str] = Counter()
    for index, id_ in enumerate(ids):
        if seen[id_] == len(rounds):
            rounds.append([])
        rounds[seen[id_]].append(index)
        seen[id_] += 1
    return rounds


async def measure_skew_s(database: AsyncDatabase[Document]) -> float | None:
    """Measure how far a server's clock is ahead of ours, in seconds; `None` if it tells none.

    Half of the fastest of some round trips is taken for the way there.
    """
    probes: list[tuple[float, float]] = []
    for _ in range(CLOCK_PROBES):
        began, asked_at = time.monotonic(), time.time()
        answer = await database.client.admin.command("hello")
        round_trip_s = time.monotonic() - began
        there = answer.get("localTime")
        if not isinstance(there, datetime):
            return None
        there_s = there.replace(tzinfo=UTC).timestamp()
        probes.append((round_trip_s, there_s - (asked_at + round_trip_s / 2)))
    return min(probes)[1]
