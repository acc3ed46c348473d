"""Damaged documents: some of those that `python -m bench.workers mutations` reads."""

from random import Random

import pytest

from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.ports import DocumentType
from bench.workers.__main__ import SAMPLES
from bench.workers.mutations import EXPECTED, READ, mutate_document, run_mutations

FILES = 150
WITHIN_S = 12.0


@pytest.mark.parametrize("type_", SAMPLES)
async def test_a_damaged_file_is_read_or_has_its_code_and_memory_stays_at_its_limit(
    type_: DocumentType,
):
    seed = 20_261_130  # other ones: `python -m bench.workers mutations --seed N`
    settings = DecoderSettings(decoder_memory_max=600_000_000)
    outcome = await run_mutations(
        SAMPLES, type_, FILES, seed=seed, within_s=WITHIN_S, settings=settings
    )
    assert outcome.unexpected == {}, f"seed {seed}"
    assert outcome.files >= 10
    assert set(outcome.codes) <= EXPECTED
    assert outcome.codes[READ] < outcome.files or type_ in ("markdown", "html", "text")
    assert outcome.peak_bytes <= settings.decoder_memory_max


@pytest.mark.parametrize("type_", SAMPLES)
def test_damage_is_the_same_for_the_same_seed_and_is_damage(type_: DocumentType):
    sample = SAMPLES[type_]
    damaged = [mutate_document(type_, sample, Random(seed)) for seed in range(50)]
    again = [mutate_document(type_, sample, Random(seed)) for seed in range(50)]
    assert damaged == again
    assert sum(file != sample for file in damaged) > 40
