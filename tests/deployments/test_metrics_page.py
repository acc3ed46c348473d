"""The page about metrics says what the table says."""

from aletheia.metrics import METRICS
from deployments.metrics_page import DOCUMENT, write_document


def test_the_page_equals_the_table():
    assert DOCUMENT.read_text() == write_document(), "run `make configuration`"


def test_every_metric_is_on_the_page_with_its_labels_unit_and_sentence():
    lines = [line for line in write_document().splitlines() if "|" in line]
    rows = {line.split("|")[1].strip(" `"): line for line in lines}
    for metric in METRICS:
        row = rows[metric.name]
        assert f"| {metric.kind} | {metric.unit} |" in row
        assert metric.sentence in row
        assert all(f"`{label.name}`" in row for label in metric.labels)
        assert all(value in row for label in metric.labels for value in label.values)
