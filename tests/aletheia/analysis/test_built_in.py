"""What is said about the task types that come with Aletheia."""

import re

import pytest

from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.processor import UNDESCRIBED, spec_of


@pytest.mark.parametrize("task_type", BUILT_IN)
def test_a_type_is_described_field_by_field(task_type: str):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", task_type)
    spec = spec_of(BUILT_IN[task_type])
    assert spec is not UNDESCRIBED
    for model in (spec.input, spec.result):
        assert model.model_fields
        assert all((field.description or "")[-1:] == "." for field in model.model_fields.values())
