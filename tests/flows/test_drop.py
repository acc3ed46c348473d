"""The flow `drop_repetition` on a real Prefect server."""

import json
from dataclasses import replace
from typing import Any

import pytest

from aletheia.items.calibration import identity
from aletheia.items.calibration_store import CalibrationStore
from aletheia.items.decisions import DropRefused
from blocks import StoreCredentials
from flows.drop import drop_repetition
from flows.undo import undo_duplicate
from tests.flows.command_line import command, run_command
from tests.flows.conftest import artifacts, last_run
from tests.flows.test_undo import MODEL, NAME, gather, read, store

__all__ = ["store"]


async def keep_items(store: StoreCredentials) -> list[dict[str, Any]]:
    """Run until items that may repeat others are kept; return the table.

    By the scale that is stored here any two items may, and no judge is asked.
    """
    scale = replace(
        identity(MODEL),
        knots=((-1.0, 0.0), (0.0, 0.6), (1.0, 1.0)),
        grey_from=0.5,
        judged_from=1.0,
        reach=-1.0,
    )
    documents = store.get_client()
    await documents.open()
    await CalibrationStore(documents).save(scale)
    await documents.close()
    await gather("shop")
    run = await last_run(NAME)
    (table,) = await artifacts("gather-possible-repetitions", run.id)
    assert "`aletheia gather drop shop PAIR`" in str(table.description)
    return json.loads(str(table.data))


async def test_an_operator_drops_a_possible_repetition_and_has_it_back(store: StoreCredentials):
    rows = await keep_items(store)
    before = {item.id: item.content for item in await read(store, "shop")}
    dropped = await drop_repetition("shop", rows[0]["pair"], "anna")
    after = {item.id for item in await read(store, "shop")}
    assert set(before) - after == {dropped.item.id}
    assert dropped.decision.match_id in after
    undone = await undo_duplicate("shop", rows[0]["pair"], "ben")
    assert undone.item.id == dropped.item.id
    assert {item.id: item.content for item in await read(store, "shop")} == before


async def test_the_command_lists_pairs_and_drops_one(store: StoreCredentials):
    rows = await keep_items(store)
    listed = await command("gather", "duplicates", "shop", "--possible", "--json", "--limit", "2")
    assert listed.exit_code == 0, listed.output
    first, second = (row["pair"] for row in json.loads(listed.stdout))
    assert {first, second} < {row["pair"] for row in rows}
    result = await run_command(drop_repetition, "gather", "drop", "shop", first)
    assert result.exit_code == 0, result.output
    again = await command("gather", "duplicates", "shop", "--possible")
    assert first not in again.stdout
    assert second in again.stdout


@pytest.mark.usefixtures("store")
async def test_what_cannot_be_dropped_fails_its_run_with_a_code():
    await gather("shop")
    with pytest.raises(DropRefused, match="none of this id"):
        await drop_repetition("shop", "0123456789ab", "anna")
    run = await last_run("drop_repetition")
    assert run.state is not None
    assert run.state.is_failed()
