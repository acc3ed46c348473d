"""Calls to models as they are recorded."""

from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import Final

from aletheia.documents import Document
from aletheia.llm.prices import Kind, Tokens

USAGE: Final = "aletheia_usage"


class UsageState(StrEnum):
    """State of a call."""

    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a model."""

    key: str
    provider: str
    model: str
    kind: Kind
    run_id: str | None = None
    task_id: str | None = None
    is_batch: bool = False
    is_mock: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for a call."""

    id: str
    call: Call
    tokens: Tokens  # upper estimate
    nanousd: int  # upper estimate
    day: str  # the UTC day it is charged to, as `2026-11-21`


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """All settled calls of one kind to one model."""

    provider: str
    model: str
    kind: Kind
    is_mock: bool
    calls: int
    tokens: int  # in and out
    usd: Decimal


def record_document(reservation: Reservation, state: UsageState, at: float) -> Document:
    """Return the document of a call that is reserved or recorded."""
    figures = {
        "tokens_in": reservation.tokens.input,
        "tokens_out": reservation.tokens.output,
        "nanousd": reservation.nanousd,
    }
    return {
        "_id": reservation.id,
        **asdict(reservation.call),
        "state": state,
        **figures,
        "estimate": figures,
        "day": reservation.day,
        "at": at,
        "settled_at": at if state is UsageState.SETTLED else None,
    }


def read_reservation(document: Document) -> Reservation:
    """Return the reservation that a document holds."""
    return Reservation(
        document["_id"],
        Call(**{part.name: document[part.name] for part in fields(Call)}),
        Tokens(document["tokens_in"], document["tokens_out"]),
        document["nanousd"],
        document["day"],
    )
