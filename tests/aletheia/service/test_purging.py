import pytest

from aletheia.documents import Documents
from aletheia.service import purging
from aletheia.service.purging import purge_all


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 35])
async def test_all_that_is_past_its_use_goes_and_nothing_else(
    documents: Documents, monkeypatch: pytest.MonkeyPatch, count: int
):
    monkeypatch.setattr(purging, "MAX_AT_ONCE", 10)
    old = [{"_id": f"old-{number}", "at": 1} for number in range(count)]
    await documents.insert("things", [*old, {"_id": "new", "at": 5}])
    assert await purge_all(documents, "things", {"at": {"$lt": 5}}) == count
    assert [found["_id"] for found in await documents.find("things", {})] == ["new"]
