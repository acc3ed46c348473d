"""Damaged recordings: some of those that `python -m bench.workers sounds` measures."""

import pytest

from aletheia.analysis.audio_settings import AudioSettings
from aletheia.analysis.file_types import FileType
from bench.workers.audio_mutations import EXPECTED, make_samples, run_audio_mutations
from bench.workers.mutations import READ

FILES = 60
WITHIN_S = 10.0
SAMPLES = make_samples()


@pytest.mark.parametrize("type_", SAMPLES)
async def test_a_damaged_recording_is_measured_or_has_its_code_and_memory_stays_at_its_limit(
    type_: FileType,
):
    seed = 20_261_130  # other ones: `python -m bench.workers sounds --seed N`
    outcome = await run_audio_mutations(SAMPLES, type_, FILES, seed=seed, within_s=WITHIN_S)
    assert outcome.unexpected == {}, f"seed {seed}"
    assert outcome.files >= 5
    assert set(outcome.codes) <= EXPECTED
    assert outcome.codes[READ] > 0
    assert outcome.peak_bytes <= AudioSettings().audio_memory_max
