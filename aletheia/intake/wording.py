"""How reports are written: the letter case of states, and the names of the fields (SPEC §1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

import orjson

from aletheia.errors import AletheiaError
from aletheia.intake.models import Outcome

ReportDialect: TypeAlias = Literal["state", "status"]

MAX_MESSAGE_LENGTH: Final = 500

_FAILURE = re.compile(rb'\{"(?:state|status)":"failed"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wording:
    """How the reports of one task are written.

    The dialect `state` writes `state`, `result`, `usage` and `error`; `status` writes `status`,
    `output_data` and `error_message`, and nothing else.
    """

    dialect: ReportDialect = "state"
    listed_state: str | None = None  # states are written in its letter case, or in lower case

    def processing(self) -> bytes:
        """Return the report that takes the task off the pending list."""
        return orjson.dumps({self.dialect: self._state("processing")})

    def succeeded(
        self, result: Mapping[str, Any], usage: Mapping[str, Any] | None, record: Mapping[str, Any]
    ) -> Outcome:
        """Return the report of a success; `record` stays. `TypeError`: something is not JSON."""
        name = "output_data" if self.dialect == "status" else "result"
        report: dict[str, Any] = {self.dialect: self._state("succeeded"), name: dict(result)}
        if usage and self.dialect == "state":
            report["usage"] = dict(usage)
        body = orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY)
        kept = orjson.loads(orjson.dumps([dict(record), dict(usage or {})]))
        return Outcome(body, result=kept[0], usage=kept[1] or None)

    def failed(self, error: AletheiaError) -> Outcome:
        """Return the report of a failure."""
        shown = str(error)[: MAX_MESSAGE_LENGTH * 2]
        shown = "".join(c if c.isprintable() else " " for c in shown)
        message = shown.encode(errors="replace").decode()[:MAX_MESSAGE_LENGTH]
        facts = {"code": error.code, "message": message, "retryable": error.retryable}
        return Outcome(self.failure(facts), error=facts)

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """Return the report of a failure, from what the ledger has of it."""
        report: dict[str, Any] = {self.dialect: self._state("failed")}
        if self.dialect == "status":
            report["error_message"] = f"{error['code']}: {error['message']}"
        else:
            report["error"] = dict(error)
        return orjson.dumps(report)

    def _state(self, state: str) -> str:
        listed = self.listed_state or ""
        if listed.isupper():
            return state.upper()
        return state.capitalize() if listed.istitle() else state


def failure_in(body: bytes) -> Mapping[str, Any] | None:
    """Return code and message of the report of a failure; `None` for another report."""
    if not _FAILURE.match(body):
        return None
    report = cast("dict[str, Any]", orjson.loads(body))
    if "error_message" in report:
        code, _, message = report["error_message"].partition(": ")
        return {"code": code, "message": message}
    return {name: report["error"][name] for name in ("code", "message")}
