"""What was computed before is not computed again."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.analysis.cached import compute_once
from aletheia.analysis.result_cache import ResultCache
from aletheia.analysis.single import Computed
from aletheia.errors import ComputeFailed


class Work:
    """Counts how often it is done."""

    def __init__(self, **more: str) -> None:
        self.done = 0
        self._more = more

    async def __call__(self) -> Computed:
        self.done += 1
        return Computed({"number": self.done, **self._more}, {"model": "m"}, {"tokens": 7})


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncGenerator[ResultCache]:
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    yield ResultCache(documents, scope="t 1", ttl_s=100)
    await documents.close()


async def test_a_second_time_the_first_result_is_found_and_costs_nothing(cache: ResultCache):
    work = Work()
    first = await compute_once(cache, ("a", 1), work)
    second = await compute_once(cache, ("a", 1), work)
    assert first == Computed({"number": 1}, {"model": "m"}, {"tokens": 7})
    assert second == Computed({"number": 1}, {"model": "m", "cached": True}, {"tokens": 0})
    assert work.done == 1


async def test_other_inputs_have_other_results(cache: ResultCache):
    work = Work()
    for made_from in (("a", 1), ("a", 2), ("b", 1)):
        await compute_once(cache, made_from, work)
    assert work.done == 3


async def test_a_fallback_is_tried_again(cache: ResultCache):
    work = Work(fallback="not_json")
    for _ in range(2):
        await compute_once(cache, ("a",), work)
    assert work.done == 2


async def test_an_error_is_not_saved(cache: ResultCache):
    async def fail() -> Computed:
        raise ComputeFailed("decoder_died", "it died")

    with pytest.raises(ComputeFailed):
        await compute_once(cache, ("a",), fail)
    assert (await compute_once(cache, ("a",), Work())).result == {"number": 1}


async def test_without_a_cache_all_is_computed():
    work = Work()
    for _ in range(2):
        assert (await compute_once(None, ("a",), work)).record == {"model": "m"}
    assert work.done == 2
