"""Calls to models as they are recorded."""

from dataclasses import dataclass
from datetime import UTC, datetime
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
    """A call to a model.

    Attributes:
        key: of what is asked; a call repeated after a crash has the same.
        provider: such as `openai`.
        model: such as `text-embedding-3-small`.
        kind: what for.
        run_id: the run it belongs to: a shift, or a gather run with its retries and resumes.
        task_id: the task it belongs to, where it is only one.
        is_batch: sent at the batch price.
        is_mock: made up, not called.
    """

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
    """What is reserved for a call.

    Attributes:
        id: of its record.
        call: the call.
        tokens: upper estimate.
        nanousd: upper estimate.
        day: the UTC day it is charged to, as `2026-11-21`.
    """

    id: str
    call: Call
    tokens: Tokens
    nanousd: int
    day: str


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The record of one call.

    Attributes:
        id: its own.
        call: the call.
        state: its state; the figures are the estimate until it is settled.
        tokens: what it used.
        nanousd: what that cost.
        at: when it was reserved, or recorded.
        settled_at: when it was settled or released.
    """

    id: str
    call: Call
    state: UsageState
    tokens: Tokens
    nanousd: int
    at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """All settled calls of one kind to one model.

    Attributes:
        calls: how many.
        tokens: what they used.
        nanousd: what they cost.
        is_mock: whether they were made up.
    """

    provider: str
    model: str
    kind: Kind
    is_mock: bool
    calls: int
    tokens: Tokens
    nanousd: int


def record_document(reservation: Reservation, state: UsageState, at: float) -> Document:
    """Return the document of a call that is reserved or recorded."""
    call, tokens = reservation.call, reservation.tokens
    figures = {
        "tokens_in": tokens.input,
        "tokens_out": tokens.output,
        "nanousd": reservation.nanousd,
    }
    return {
        "_id": reservation.id,
        "key": call.key,
        "provider": call.provider,
        "model": call.model,
        "kind": call.kind,
        "run_id": call.run_id,
        "task_id": call.task_id,
        "is_batch": call.is_batch,
        "is_mock": call.is_mock,
        "state": state,
        **figures,
        "estimate": figures,
        "day": reservation.day,
        "at": at,
        "settled_at": at if state is UsageState.SETTLED else None,
    }


def read_record(document: Document) -> UsageRecord:
    """Return the record that a document holds."""
    settled_at = document["settled_at"]
    return UsageRecord(
        id=document["_id"],
        call=Call(
            key=document["key"],
            provider=document["provider"],
            model=document["model"],
            kind=document["kind"],
            run_id=document["run_id"],
            task_id=document["task_id"],
            is_batch=document["is_batch"],
            is_mock=document["is_mock"],
        ),
        state=UsageState(document["state"]),
        tokens=Tokens(document["tokens_in"], document["tokens_out"]),
        nanousd=document["nanousd"],
        at=datetime.fromtimestamp(document["at"], UTC),
        settled_at=None if settled_at is None else datetime.fromtimestamp(settled_at, UTC),
    )
