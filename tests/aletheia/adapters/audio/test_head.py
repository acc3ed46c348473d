"""How much of a recording is read at once."""

import pytest

from aletheia.adapters.audio.head import MAX_CHANNELS, block_frames


@pytest.mark.parametrize("channels", [1, 2, 6, MAX_CHANNELS])
def test_blocks_have_as_many_samples_however_many_channels_there_are(channels: int):
    assert 0 < block_frames(channels) * channels <= block_frames(1)
    assert block_frames(10**9) == 1
