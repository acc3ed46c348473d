"""What the mock writes, beside what the people of the example company have written."""

import numpy as np

from aletheia.adapters.mock.chat import MockChat
from aletheia.adapters.payload_cms import read_departments
from aletheia.gather.generation import GenerationPlan, generate_items
from aletheia.gather.prompts.generate_items import PromptContext
from aletheia.items.item_index import Entry, make_entry
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.messages import Completion
from deployments.examples.departments import EXAMPLE_DEPARTMENTS, EXAMPLE_TEXTS


class NothingKept(SavedAnswers):
    """Keeps no answers."""

    def __init__(self) -> None:
        pass

    async def find(self, step: str) -> Completion | None:
        del step
        return None

    async def save(self, step: str, completion: Completion) -> None:
        del step, completion


async def test_the_mock_repeats_what_people_of_the_company_have_written() -> None:
    """The first text word for word, the second nearly, the third in other words."""
    departments = read_departments(
        [example.document for example in EXAMPLE_DEPARTMENTS]
    ).departments
    written: list[str] = []
    for department in departments[:2]:
        batch = await generate_items(
            MockChat(),
            NothingKept(),
            department,
            1,
            PromptContext(),
            plan=GenerationPlan("a-model", items=8),
        )
        written += [item.content for item in batch.items]
    exact, near, reworded, *others = (_entry(text) for text in EXAMPLE_TEXTS)
    mocks = [_entry(text) for text in written]
    assert any(mock.key == exact.key for mock in mocks)
    assert any(mock.key != near.key and mock.is_near_exact(near) for mock in mocks)
    assert not any(mock.is_near_exact(reworded) for mock in mocks)
    assert max(mock.jaccard(reworded) for mock in mocks) > 0.2
    assert max(mock.jaccard(other) for mock in mocks for other in others) < 0.05


def _entry(text: str) -> Entry:
    return make_entry(text[:20], text, np.ones(1), 1)
