"""The page about task types says what their models say."""

from typing import Literal

from pydantic import BaseModel, Field

from aletheia.analysis.built_in import BUILT_IN
from aletheia.analysis.processor import TypeSpec
from aletheia.analysis.tools import TOOLS
from deployments.task_types_page import DOCUMENT, write_document, write_type


class Segment(BaseModel):
    start: float = Field(ge=0, description="Begin.")
    text: str


class Form(BaseModel):
    audio_file: str = Field(description="Address | path.")
    language: Literal["auto", "en"] = Field(default="auto", description="Language.")
    limit: int | None = Field(default=None, ge=1, description="Bound.")
    segments: list[Segment] = Field(description="Parts.")
    scores: dict[str, float] = Field(default_factory=dict[str, float], description="By name.")


def test_the_page_equals_the_processors():
    assert DOCUMENT.read_text() == write_document(), "run `make configuration`"


def test_every_type_and_every_tool_is_on_the_page():
    page = write_document()
    assert all(f"## `{task_type}`" in page for task_type in BUILT_IN)
    assert all(f"| `{name}` |" in page for name in TOOLS)


def test_a_field_is_shown_with_its_type_default_and_meaning():
    written = write_type("t", TypeSpec(Form, Form, "media", "3", 60), "Does it.")
    assert "Lane `media`, version 3, time limit 60 s, inputs in one call: 1." in written
    for row in (
        "| `audio_file` | string | required | Address \\| path. |",
        "| `language` | `auto`, `en` | `auto` | Language. |",
        "| `limit` | integer ≥ 1 |  | Bound. |",
        "| `segments` | list of object (`start`: number ≥ 0, `text`: string) | required | Parts. |",
        "| `scores` | object of number |  | By name. |",
    ):
        assert row in written, written
