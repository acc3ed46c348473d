"""The deployment `calibrate`: fits the scale of similarity to an embedding model."""

from prefect import flow

from aletheia.items.calibration import Calibration
from tasks.calibration import choose_model, fit_model, save_calibration, show_calibration
from tasks.session import open_watched_session


@flow(name="calibrate", persist_result=False)
async def calibrate(model: str | None = None) -> Calibration:
    """Fit the scale of similarity to an embedding model, and test it on pairs it has not seen.

    The default model is the one that embeds items. Gather runs that begin from now on use the new
    calibration; those under way keep theirs.
    """
    async with open_watched_session():
        calibration = await fit_model(await choose_model(model))
        await save_calibration(calibration)
        await show_calibration(calibration)
        return calibration
