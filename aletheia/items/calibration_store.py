"""Calibrations that were fitted here, and the one that a run works with (SPEC §4, Dedup).

A stored calibration goes before the one that the project's last run had, that before a shipped one,
and that before the identity. So a project's scale changes only when `calibrate` has run; a new
version of Aletheia changes nothing. A run keeps the calibration that it began with.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

from aletheia.documents import Change, Document, Documents, Update
from aletheia.items.calibration import Calibration, shipped_calibration
from aletheia.items.decisions import DECISIONS
from aletheia.store.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

CALIBRATIONS: Final = "aletheia_calibrations"
CHOSEN: Final = "aletheia_gather_calibrations"

Source: TypeAlias = Literal["stored", "shipped", "identity"]
"""Origin of a calibration; the identity is that of a model without one."""


@dataclass(frozen=True, slots=True)
class ChosenCalibration:
    """The calibration of a run, and where that is from."""

    calibration: Calibration
    source: Source
    is_changed: bool = False  # whether the project's last run had another one
    is_newer_shipped: bool = False  # whether another one comes with Aletheia


class CalibrationStore:
    """The calibrations of one store.

    Vectors that a model was asked to make shorter have a scale of their own: `dimensions` is the
    length that is asked of vectors, `None` the model's own.
    """

    def __init__(
        self, documents: Documents, *, dimensions: int | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._documents, self._dimensions, self._clock = documents, dimensions, clock

    async def save(self, calibration: Calibration) -> None:
        """Save a calibration in place of the model's last one; runs under way keep theirs."""
        values = asdict(calibration) | {"at": self._clock.unix_s(), "dimensions": self._dimensions}
        update = Update(self._key(calibration.model), Change(set=values))
        await self._documents.upsert(CALIBRATIONS, [update])

    async def find(self, model: str) -> Calibration | None:
        """Return the stored calibration of a model; a broken one counts as none, with a warning."""
        key = self._key(model)
        found = await self._documents.get(CALIBRATIONS, [key])
        return _read(found[key], model) if key in found else None

    async def choose(
        self, run_id: str, model: str, project_id: str | None = None
    ) -> ChosenCalibration:
        """Return a run's calibration of a model: the same in all of its attempts.

        `project_id`: the project whose scale it is; without one, the run is on its own.
        """
        key = self._key(model)
        found = (await self._documents.get(CHOSEN, [run_id])).get(run_id)
        if found is not None and found["key"] == key:
            known = _read_chosen(found, model)
            if known is not None:
                return known
        last = None if project_id is None else await self._find_last(project_id, model)
        if (stored := await self.find(model)) is not None:
            is_changed = last is not None and last.calibration != stored
            chosen = ChosenCalibration(stored, "stored", is_changed)
        elif last is not None:
            is_newer = last.calibration != shipped_calibration(model)
            chosen = ChosenCalibration(last.calibration, last.source, is_newer_shipped=is_newer)
        else:
            shipped = shipped_calibration(model)
            chosen = ChosenCalibration(shipped, "shipped" if shipped.fitted else "identity")
        values = asdict(chosen) | {
            "key": key,
            "project_id": project_id,
            "at": self._clock.unix_s(),
        }
        await self._documents.upsert(CHOSEN, [Update(run_id, Change(set=values))])
        return chosen

    async def _find_last(self, project_id: str, model: str) -> ChosenCalibration | None:
        """Return the calibration of the project's last run with this model, if it had one."""
        await self._documents.ensure_index(CHOSEN, ["project_id", "at"])
        where = {"project_id": project_id, "key": self._key(model)}
        found = await self._documents.find(CHOSEN, where, sort="at", descending=True, limit=1)
        if not found:
            found = await self._find_of_decisions(project_id, self._key(model))
        return _read_chosen(found[0], model) if found else None

    async def _find_of_decisions(self, project_id: str, key: str) -> list[Document]:
        """Return the choice of the run that decided last: choices of before name no project."""
        where = {"project_id": project_id}
        last = await self._documents.find(DECISIONS, where, sort="order", descending=True, limit=1)
        if not last:
            return []
        found = await self._documents.get(CHOSEN, [last[0]["run_id"]])
        return [choice for choice in found.values() if choice["key"] == key]

    async def find_chosen(self, run_id: str) -> ChosenCalibration | None:
        """Return the calibration of a run; `None` if it has chosen none."""
        found = (await self._documents.get(CHOSEN, [run_id])).get(run_id)
        return None if found is None else _read_chosen(found, found["calibration"]["model"])

    def _key(self, model: str) -> str:
        return model if self._dimensions is None else f"{model} {self._dimensions}"


def _read_chosen(found: Document, model: str) -> ChosenCalibration | None:
    known = _read(found["calibration"], model)
    if known is None:
        return None
    flags = (bool(found.get(name)) for name in ("is_changed", "is_newer_shipped"))
    return ChosenCalibration(known, found["source"], *flags)


def _read(document: Mapping[str, Any], model: str) -> Calibration | None:
    """Read a stored calibration; `None`, with a warning, if it is none of this model."""
    try:
        calibration = Calibration.from_document(document)
        if calibration.model != model:
            raise ValueError(f"it is of {calibration.model!r}")
    except ValueError as broken:
        log.warning(
            "the stored calibration of %s cannot be used, another one is: %s; run `calibrate` to "
            "replace it",
            model,
            broken,
        )
        return None
    return calibration
