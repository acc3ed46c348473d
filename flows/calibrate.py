"""The deployment `calibrate`: what similarity means for an embedding model."""

from prefect import flow

from aletheia.items.calibration import Calibration
from tasks.calibration import (
    choose_model,
    fit_model,
    keep_calibration,
    leave_calibration,
)
from tasks.session import open_session


@flow(name="calibrate", persist_result=False)
async def calibrate(model: str | None = None) -> Calibration:
    """Fit the scale of similarity to an embedding model, and test it on pairs it has not seen.

    Without a model it is the one that embeds items as things are set. Gather runs that begin from
    now on take what is stored here; those under way keep theirs.
    """
    async with open_session():
        calibration = await fit_model(await choose_model(model))
        await keep_calibration(calibration)
        await leave_calibration(calibration)
        return calibration
