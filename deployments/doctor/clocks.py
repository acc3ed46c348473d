"""A check of the clocks of all machines that poll, by what they wrote into the ledger."""

from aletheia.intake.ledger import Ledger
from aletheia.settings import IntakeSettings
from blocks import StoreCredentials
from deployments.doctor.results import CheckFailed
from deployments.doctor.services import load_block


async def check_clocks() -> str:
    """Check that no poller's clock was ahead of another one's during the last day."""
    store = (await load_block(StoreCredentials)).get_client()
    try:
        await store.open()
        found = await Ledger(
            store, IntakeSettings(), owner="doctor"
        ).claims.strays.find_clock_ahead()
    finally:
        await store.close()
    if found is None:
        return "no poller's clock was ahead of another one's"
    raise CheckFailed(str(found), "synchronise the clocks of all machines (NTP)", "warning")
