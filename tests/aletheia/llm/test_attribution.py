import asyncio

import pytest

from aletheia.llm.attribution import current_department, current_project, spending_on


def test_it_holds_within_the_block_only():
    assert (current_project(), current_department()) == (None, None)
    with spending_on("shop", "legal"):
        assert (current_project(), current_department()) == ("shop", "legal")
        with spending_on("shop", "hr"):
            assert current_department() == "hr"
        assert current_department() == "legal"
    assert (current_project(), current_department()) == (None, None)


def test_an_error_ends_it_too():
    with pytest.raises(RuntimeError), spending_on("shop", "legal"):
        raise RuntimeError
    assert current_project() is None


async def test_tasks_that_are_begun_in_it_keep_it():
    async def read() -> str | None:
        await asyncio.sleep(0)
        return current_department()

    with spending_on("shop", "legal"):
        first = asyncio.create_task(read())
    with spending_on("shop", "hr"):
        second = asyncio.create_task(read())
    assert await asyncio.gather(first, second) == ["legal", "hr"]
