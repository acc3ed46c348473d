"""What is known of models, beside what their providers say."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from aletheia.analysis.model_manager import (
    ModelEvent,
    ModelRecords,
    ModelRow,
    PullProgress,
    list_rows,
)
from aletheia.documents import Documents
from aletheia.store.clock import Clock

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class MovableTime:
    now = NOON.timestamp()

    def __call__(self) -> float:
        return self.now


class Holder:
    """A provider with the rows it is given."""

    def __init__(self, *rows: ModelRow) -> None:
        self.provider = "local"
        self.answer = list(rows)
        self.asked: list[tuple[str, str]] = []

    async def rows(self) -> list[ModelRow]:
        return self.answer

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        yield PullProgress(model, "success", 7, 7)

    async def load(self, model: str) -> None:
        self.asked.append(("load", model))

    async def unload(self, model: str) -> None:
        self.asked.append(("unload", model))


async def test_what_became_of_a_model_is_counted_and_the_last_figures_kept(documents: Documents):
    clock = MovableTime()
    records = ModelRecords(documents, clock=Clock(clock))
    await records.note(
        ModelEvent("local", "a/b", "loaded", 2.5, 1000, 900, used_at=NOON.timestamp())
    )
    clock.now += 60
    await records.note(ModelEvent("local", "a/b", "evicted", used_at=NOON.timestamp() + 30))
    clock.now += 60
    await records.note(ModelEvent("local", "a/b", "loaded", 1.5, 1100, used_at=clock.now))
    await records.note(ModelEvent("ollama", "a/b", "loaded", 9.0))

    (record,) = await records.read("local")

    assert record == ModelRow(
        provider="local",
        model="a/b",
        state="loaded",
        loads=2,
        evictions=1,
        load_s=1.5,
        memory_bytes=1100,
        size_bytes=900,
        last_used=datetime(2026, 11, 21, 12, 2, tzinfo=UTC),
    )
    await records.note(ModelEvent("local", "a/b", "unloaded"))
    (record,) = await records.read("local")
    assert (record.state, record.loads, record.evictions) == ("installed", 2, 1)
    assert [row.load_s for row in await records.read("ollama")] == [9.0]


async def test_a_row_has_what_the_provider_says_and_what_is_known_besides(documents: Documents):
    records = ModelRecords(documents, clock=Clock(MovableTime()))
    await records.note(
        ModelEvent("local", "known", "loaded", 2.5, 1000, 900, used_at=NOON.timestamp())
    )
    await records.note(ModelEvent("local", "known", "evicted"))
    later = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
    holder = Holder(
        ModelRow("local", "new", "available"),
        ModelRow("local", "known", "loaded", memory_bytes=1200, last_used=later),
    )

    known, new = await list_rows(holder, records)

    assert new == ModelRow("local", "new", "available")
    assert known == ModelRow(
        "local",
        "known",
        "loaded",
        size_bytes=900,
        memory_bytes=1200,
        load_s=2.5,
        last_used=later,
        loads=1,
        evictions=1,
    )
