"""What a processor says about its type."""

from typing import Any

import pytest
from pydantic import BaseModel

from aletheia.analysis.processor import UNDESCRIBED, TypeSpec, spec_of
from aletheia.errors import Misconfigured


class Form(BaseModel):
    text: str


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"lane": "express"}, "lane"),
        ({"lane": "bulk"}, "lane"),
        ({"version": " "}, "version"),
        ({"time_limit_s": 0}, "time_limit_s"),
        ({"time_limit_s": float("nan")}, "time_limit_s"),
        ({"time_limit_s": 10**6}, "time_limit_s"),
        ({"max_inputs": -1}, "max_inputs"),
        ({"input": dict}, "input"),
        ({"result": Form(text="a")}, "result"),
    ],
)
def test_a_spec_that_makes_no_sense_names_what_is_wrong(wrong: dict[str, Any], named: str):
    with pytest.raises(Misconfigured, match=f"processor, {named} of its spec"):
        TypeSpec(**wrong)


def test_a_processor_without_a_spec_takes_anything_in_the_lane_of_shifts():
    assert spec_of(object()) is UNDESCRIBED
    assert (UNDESCRIBED.lane, UNDESCRIBED.max_inputs) == ("intake", None)


def test_what_is_no_spec_is_named():
    class Odd:
        spec = Form(text="a")

    with pytest.raises(Misconfigured, match="its spec is a Form"):
        spec_of(Odd)
