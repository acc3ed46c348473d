"""Which calibration a run works with."""

import logging
from dataclasses import asdict
from typing import Any

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.documents import Change, Update
from aletheia.items.calibration import (
    DUPLICATE_AT,
    Accuracy,
    Calibration,
    identity,
    shipped_calibration,
)
from aletheia.items.calibration_store import CALIBRATIONS, CHOSEN, CalibrationStore
from aletheia.items.decisions import DECISIONS
from aletheia.store.clock import Clock

SHIPPED = "sentence-transformers/all-MiniLM-L6-v2"
UNKNOWN = "nobody/has-fitted-this"
SCORES = Accuracy(pairs=10, duplicates=4, precision=1.0, recall=0.75, f1=0.857)


def fitted(model: str, at: float) -> Calibration:
    return Calibration(model, ((0.0, 0.0), (at, 0.9), (1.0, 1.0)), "abc", SCORES, SCORES)


async def spoil(documents: EmbeddedDocuments, collection: str, id_: str, **values: Any) -> None:
    await documents.update(collection, [Update(id_, Change(set=values))])


async def test_what_is_stored_comes_back_as_it_was_and_the_last_one_counts(
    documents: EmbeddedDocuments,
):
    store = CalibrationStore(documents)
    assert await store.find(SHIPPED) is None
    await store.save(fitted(SHIPPED, 0.6))
    await store.save(fitted(SHIPPED, 0.7))
    assert await store.find(SHIPPED) == fitted(SHIPPED, 0.7)
    assert await store.find(UNKNOWN) is None
    assert await documents.count(CALIBRATIONS, {}) == 1


async def test_the_stored_one_goes_before_the_shipped_one_and_that_before_the_identity(
    documents: EmbeddedDocuments,
):
    store = CalibrationStore(documents)
    nothing = await store.choose("run-1", UNKNOWN)
    assert (nothing.calibration, nothing.source) == (identity(UNKNOWN), "identity")
    assert nothing.calibration.to_cosine(DUPLICATE_AT) == 0.9
    shipped = await store.choose("run-2", SHIPPED)
    assert (shipped.calibration, shipped.source) == (shipped_calibration(SHIPPED), "shipped")
    await store.save(fitted(SHIPPED, 0.7))
    stored = await store.choose("run-3", SHIPPED)
    assert (stored.calibration, stored.source) == (fitted(SHIPPED, 0.7), "stored")
    assert stored.calibration.to_cosine(DUPLICATE_AT) == pytest.approx(0.7)


async def test_a_run_keeps_the_calibration_that_it_began_with(documents: EmbeddedDocuments):
    store = CalibrationStore(documents)
    await store.save(fitted(SHIPPED, 0.6))
    began = await store.choose("run-1", SHIPPED)
    await store.save(fitted(SHIPPED, 0.7))
    later = CalibrationStore(documents)
    assert await later.choose("run-1", SHIPPED) == began
    assert await later.find_chosen("run-1") == began
    chosen = await later.choose("run-2", SHIPPED)
    assert chosen.calibration.to_cosine(DUPLICATE_AT) == pytest.approx(0.7)
    assert await later.find_chosen("run-3") is None


async def test_an_attempt_with_another_model_chooses_anew(documents: EmbeddedDocuments):
    store = CalibrationStore(documents)
    await store.choose("run-1", SHIPPED)
    assert (await store.choose("run-1", UNKNOWN)).calibration == identity(UNKNOWN)
    assert await store.find_chosen("run-1") == await store.choose("run-1", UNKNOWN)


async def test_vectors_of_another_length_have_a_scale_of_their_own(documents: EmbeddedDocuments):
    await CalibrationStore(documents, dimensions=256).save(fitted(UNKNOWN, 0.7))
    assert await CalibrationStore(documents).find(UNKNOWN) is None
    assert await CalibrationStore(documents, dimensions=512).find(UNKNOWN) is None
    assert await CalibrationStore(documents, dimensions=256).find(UNKNOWN) is not None


@pytest.mark.parametrize(
    "damage",
    [
        {"knots": [[0.0, 0.0], [0.7, 0.9], [0.6, 1.0]]},
        {"knots": "none"},
        {"knots": [[0.0, 0.0], [0.7, 0.9, 3], [1.0, 1.0]]},
        {"knots": None},
        {"tested": {"pairs": 1}},
        {"fitted": "well"},
        {"model": "another/model"},
    ],
    ids=str,
)
async def test_a_broken_one_is_passed_over_with_a_warning(
    documents: EmbeddedDocuments, damage: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    store = CalibrationStore(documents)
    await store.save(fitted(SHIPPED, 0.7))
    await spoil(documents, CALIBRATIONS, SHIPPED, **damage)
    with caplog.at_level(logging.WARNING, "aletheia"):
        chosen = await store.choose("run-1", SHIPPED)
    assert chosen.source == "shipped"
    assert f"the stored calibration of {SHIPPED} cannot be used" in caplog.text


async def test_a_broken_choice_is_made_again(documents: EmbeddedDocuments):
    store = CalibrationStore(documents)
    first = await store.choose("run-1", SHIPPED)
    await spoil(documents, CHOSEN, "run-1", **{"calibration.knots": []})
    assert await store.find_chosen("run-1") is None
    assert await store.choose("run-1", SHIPPED) == first
    assert await store.find_chosen("run-1") == first


async def test_what_is_saved_has_the_time_of_the_clock(documents: EmbeddedDocuments):
    store = CalibrationStore(documents, clock=Clock(lambda: 1_800_000_000.5))
    await store.save(fitted(UNKNOWN, 0.7))
    await store.choose("run-1", UNKNOWN)
    (saved,) = await documents.find(CALIBRATIONS, {})
    (chosen,) = await documents.find(CHOSEN, {})
    assert (saved["at"], chosen["at"]) == (1_800_000_000.5, 1_800_000_000.5)


async def test_a_projects_scale_stays_when_another_one_is_shipped(documents: EmbeddedDocuments):
    store = CalibrationStore(documents)
    # As of an earlier version of Aletheia.
    await store.choose("run-1", SHIPPED, "shop")
    old = asdict(fitted(SHIPPED, 0.6))
    await spoil(documents, CHOSEN, "run-1", calibration=old)
    later = await store.choose("run-2", SHIPPED, "shop")
    assert (later.calibration, later.source) == (fitted(SHIPPED, 0.6), "shipped")
    assert later.is_newer_shipped
    assert await store.find_chosen("run-2") == later
    other = await store.choose("run-3", SHIPPED, "another")
    assert other.calibration == shipped_calibration(SHIPPED)
    assert not other.is_newer_shipped


async def test_a_projects_scale_changes_with_calibrate_and_that_is_said(
    documents: EmbeddedDocuments,
):
    store = CalibrationStore(documents)
    first = await store.choose("run-1", SHIPPED, "shop")
    assert not first.is_changed
    await store.save(fitted(SHIPPED, 0.7))
    second = await store.choose("run-2", SHIPPED, "shop")
    assert (second.calibration, second.source) == (fitted(SHIPPED, 0.7), "stored")
    assert second.is_changed
    assert (await store.choose("run-2", SHIPPED, "shop")).is_changed, "in each of its attempts"
    assert not (await store.choose("run-3", SHIPPED, "shop")).is_changed


async def test_a_project_whose_runs_are_of_before_keeps_the_scale_of_the_last_one(
    documents: EmbeddedDocuments,
):
    store = CalibrationStore(documents)
    await store.choose("run-1", SHIPPED)
    await spoil(documents, CHOSEN, "run-1", calibration=asdict(fitted(SHIPPED, 0.6)))
    decision = {"_id": "shop:1", "project_id": "shop", "run_id": "run-1", "order": "1"}
    await documents.insert(DECISIONS, [decision])
    assert (await store.choose("run-2", SHIPPED, "shop")).calibration == fitted(SHIPPED, 0.6)
    assert (await store.choose("run-3", UNKNOWN, "shop")).calibration == identity(UNKNOWN)
