"""The picture of a calibration's reliability."""

from xml.etree import ElementTree as ET

from aletheia.adapters.reliability_picture import draw_reliability
from aletheia.items.similarity_fitting import Bin


def test_the_picture_has_the_model_and_the_pairs_of_each_tenth():
    bins = [Bin(900, 0.01, 0.012, 0.9), Bin(37, 0.55, 0.5, 0.06), Bin(63, 0.97, 0.98, 0.04)]
    drawn = draw_reliability(bins, "a/model <of> mine & $yours$").decode()
    root = ET.fromstring(drawn)
    words = {
        "".join(node.itertext()).strip() for node in root.iter() if str(node.tag).endswith("text")
    }
    assert {"900", "37", "63", "ideal"} <= words
    assert any("a/model <of> mine & $yours$" in word for word in words)
    assert draw_reliability(bins, "m") == draw_reliability(bins, "m"), "the same each time"
