"""Calibrations that were fitted here, and the one that a run works with (SPEC §4, Dedup).

A stored calibration goes before a shipped one, and that before the identity. A run keeps the
calibration that it began with.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

from aletheia.documents import Change, Documents, Update
from aletheia.items.calibration import Calibration, shipped_calibration
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

    async def choose(self, run_id: str, model: str) -> ChosenCalibration:
        """Return a run's calibration of a model: the same in all of its attempts."""
        key = self._key(model)
        found = (await self._documents.get(CHOSEN, [run_id])).get(run_id)
        if found is not None and found["key"] == key:
            known = _read(found["calibration"], model)
            if known is not None:
                return ChosenCalibration(known, found["source"])
        if (stored := await self.find(model)) is not None:
            chosen = ChosenCalibration(stored, "stored")
        else:
            shipped = shipped_calibration(model)
            chosen = ChosenCalibration(shipped, "shipped" if shipped.fitted else "identity")
        values = {
            "key": key,
            "source": chosen.source,
            "calibration": asdict(chosen.calibration),
            "at": self._clock.unix_s(),
        }
        await self._documents.upsert(CHOSEN, [Update(run_id, Change(set=values))])
        return chosen

    async def find_chosen(self, run_id: str) -> ChosenCalibration | None:
        """Return the calibration of a run; `None` if it has chosen none."""
        found = (await self._documents.get(CHOSEN, [run_id])).get(run_id)
        if found is None:
            return None
        known = _read(found["calibration"], found["calibration"]["model"])
        return None if known is None else ChosenCalibration(known, found["source"])

    def _key(self, model: str) -> str:
        return model if self._dimensions is None else f"{model} {self._dimensions}"


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
