from pathlib import Path

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.brain.ports import BrainDepartment
from aletheia.documents import Document
from aletheia.gather.catalogue import RunCatalogue
from aletheia.gather.run_records import RUNS
from aletheia.items.departments import Department


def run(run_id: str, project_id: str, at: float, **descriptions: str) -> Document:
    departments = [
        Department(
            id=slug,
            slug=slug,
            name=slug.title(),
            description=description,
            code_dep_number=number,
            gather_check=True,
            is_active=True,
        ).model_dump(mode="json")
        for number, (slug, description) in enumerate(descriptions.items(), 1)
    ]
    return {"_id": run_id, "project_id": project_id, "opened_at": at, "departments": departments}


async def test_a_department_is_as_the_newest_run_of_its_project_has_it(tmp_path: Path):
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    await documents.insert(
        RUNS,
        [
            run("1", "shop", 1.0, legal="Old words.", gone="Was there."),
            run("2", "shop", 3.0, hr="Hires.", legal="Reviews contracts."),
            run("3", "shop", 2.0, legal="Older words."),
            run("4", "another", 4.0, legal="Of somebody else."),
        ],
    )
    find = RunCatalogue(documents)
    assert await find("shop", "legal") == BrainDepartment("legal", "Legal", 2, "Reviews contracts.")
    assert await find("shop", "gone") is None
    assert await find("nobody", "legal") is None
    await documents.close()
