"""The flow `calibrate` on a real Prefect server."""

import zlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from aletheia.adapters.local.source import PACKAGED_MODEL
from aletheia.documents import Documents
from aletheia.errors import InvalidTask, Misconfigured
from aletheia.items.calibration import shipped_calibration
from aletheia.items.calibration_store import CALIBRATIONS, CalibrationStore
from aletheia.items.labelled_pairs import SPLITS, read_texts
from aletheia.items.similarity import FEATURES
from aletheia.text.wording import read_wording
from blocks import StoreCredentials
from flows.calibrate import calibrate
from tasks.calibration import describe
from tests.fakes.ollama import FakeOllama, serve_fake_ollama
from tests.flows.conftest import artifacts, last_run

MODEL: Final = "nomic-embed-text"
DIMENSIONS: Final = 256


@pytest.fixture
async def documents(
    prefect_server: None,  # noqa: ARG001 - it only has to be there
    tmp_path: Path,
) -> AsyncGenerator[Documents]:
    """The store that the saved block leads to, seen from outside."""
    credentials = StoreCredentials(data_dir=tmp_path)
    await credentials.asave("default", overwrite=True)
    documents = credentials.get_client()
    await documents.open()
    yield documents
    await documents.close()


@pytest.fixture
async def ollama(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FakeOllama]:
    """What embeds items."""
    async with serve_fake_ollama() as fake:
        monkeypatch.setenv("PROCESSING_MODE", "ollama")
        monkeypatch.setenv("OLLAMA_BASE_URL", fake.url)
        monkeypatch.setenv("RATE_LIMIT_PER_MINUTE", "100")
        yield fake


def embed_words(text: str) -> NDArray[np.float32]:
    """Embed a text as the stems it has."""
    vector = np.full(DIMENSIONS, 1e-3, np.float32)
    for stem in read_wording(text).content:
        vector[zlib.crc32(stem.encode()) % DIMENSIONS] += 1
    return (vector / np.linalg.norm(vector)).astype(np.float32)


async def test_a_model_is_fitted_tested_stored_and_described(
    documents: Documents, ollama: FakeOllama
):
    ollama.install(MODEL, dimensions=DIMENSIONS, embed=embed_words)
    calibration = await calibrate()
    assert calibration.model == MODEL
    assert calibration.fitted is not None
    assert calibration.tested is not None
    assert calibration.similarity is not None
    texts = {text for request in ollama.requests for text in request.texts}
    labelled = {text.text for split in SPLITS for text in read_texts(split)}
    assert labelled < texts
    assert all(" " not in text for text in texts - labelled), "single words"

    store = CalibrationStore(documents)
    assert await store.find(calibration.model) == calibration
    chosen = await store.choose("a run that begins now", calibration.model)
    assert (chosen.source, chosen.calibration) == ("stored", calibration)
    run_id = (await last_run("calibrate")).id
    (page,) = await artifacts("calibration", run_id)
    assert page.data == describe(calibration)
    assert f"**{calibration.min_cosine:.4f}**" in str(page.data)
    (picture,) = await artifacts("calibration-reliability", run_id)
    assert "data:image/svg+xml;base64," in str(picture.data)


def test_the_page_has_the_scale_and_how_good_it_is():
    page = describe(shipped_calibration(PACKAGED_MODEL))
    fitted, tested = (
        next(line for line in page.splitlines() if name in line)
        for name in ("fitted on", "tested on")
    )
    assert len(fitted.split("|")) == len(tested.split("|")) == 8
    assert fitted != tested
    for feature in FEATURES:
        assert f"| {feature.replace('_', ' ')} |" in page
    assert "Expected calibration error" in page


async def test_nothing_is_fitted_to_the_mock(documents: Documents, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PROCESSING_MODE", "mock")
    with pytest.raises(Misconfigured, match="mean nothing"):
        await calibrate()
    assert await documents.count(CALIBRATIONS, {}) == 0


async def test_a_model_that_cannot_tell_the_pairs_apart_is_not_stored(
    documents: Documents, ollama: FakeOllama
):
    ollama.install(MODEL)
    with pytest.raises(InvalidTask, match="cannot tell the labelled pairs apart") as raised:
        await calibrate()
    assert raised.value.code == "not_calibrated"
    with pytest.raises(InvalidTask) as raised:
        await calibrate("no/such-model")
    assert raised.value.code == "unsupported_model"
    assert await documents.count(CALIBRATIONS, {}) == 0
    run = await last_run("calibrate")
    assert run.state is not None
    assert run.state.is_failed()
