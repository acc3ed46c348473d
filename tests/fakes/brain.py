"""What tests of the Brain have in common: vectors, an embedder, and a Brain that may be away."""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aletheia.adapters.brain.embedded import EmbeddedGraph
from aletheia.adapters.content.embedded import EmbeddedContent
from aletheia.adapters.documents.embedded import EmbeddedDocuments
from aletheia.brain.access import BrainAccess
from aletheia.brain.graph import GraphItem, IndexedItem
from aletheia.brain.index import IndexedBrain
from aletheia.brain.items import BrainItems
from aletheia.brain.outbox import DeliveryPace, Outbox
from aletheia.brain.ports import BrainDepartment, BrainItem, Duplicate, KnownItem
from aletheia.errors import InvalidTask, Unavailable
from aletheia.items.content import Automation, Item, SavedItem, make_item
from aletheia.items.project_items import ProjectItems
from aletheia.items.vector_cache import VectorCache
from aletheia.resilience.breaker import CircuitBreaker
from aletheia.store.clock import Clock

MODEL = "tests/eight-numbers"
DIMENSIONS = 8

PROJECT = "project-1"

LEGAL = BrainDepartment(
    "legal", "Legal", 1, "Reviews contracts and advises on data protection, licences and disputes."
)
SALES = BrainDepartment("sales", "Sales", 2, "Finds customers and writes offers.")

NOT_EMBEDDABLE = "NOT EMBEDDABLE"
"""A text that holds this is refused, unless somebody says otherwise."""


class FakeEmbed:
    """Embeds a text by its hash, all texts of a call or none.

    Attributes:
        texts: all that it was asked for.
        fixed: vectors of texts that have another one.
        refused: texts that hold this are refused; empty for none.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.fixed: dict[str, NDArray[np.float32]] = {}
        self.refused = NOT_EMBEDDABLE

    async def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, `(n, DIMENSIONS)`."""
        self.texts += texts
        if self.refused and any(self.refused in text for text in texts):
            raise InvalidTask("input_too_long", "made to fail")
        return np.stack([self.fixed.get(text, vector_of(text)) for text in texts])


async def find_department(project_id: str, slug: str) -> BrainDepartment | None:
    """Find what the newest run of a project knows of a department."""
    known = {department.slug: department for department in (LEGAL, SALES)}
    return known.get(slug) if project_id == PROJECT else None


def vector_of(text: str, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """Make a vector of a text, the same one each time."""
    seed = hashlib.sha256(text.encode(errors="replace")).digest()[:8]
    random = np.random.default_rng(int.from_bytes(seed))
    return random.standard_normal(dimensions).astype(np.float32)


def item_of(
    item_id: str, content: str | None = None, vector: NDArray[np.float32] | None = None
) -> BrainItem:
    """Make an item; without a vector it has that of its text."""
    text = f"Content of {item_id}." if content is None else content
    made = vector_of(text) if vector is None else vector
    return BrainItem(item_id, text, f"Gist of {item_id}", "for the tests", made)


def vector_at(cosine: float, place: int = 1) -> NDArray[np.float32]:
    """Make a vector with that cosine to the first axis, which leans to another axis."""
    vector = np.zeros(DIMENSIONS, np.float32)
    vector[0], vector[place] = cosine, math.sqrt(1 - cosine**2)
    return vector


FIRST_AXIS = vector_at(1.0)


class FlakyGraph(EmbeddedGraph):
    """The embedded backend, which may be away, and slow.

    Attributes:
        is_away: whether nobody reaches it.
        calls_left: how many calls it takes before it goes away; `None` for any number.
        wait_s: how long every call takes.
        upserts: ids of each call that wrote.
        after_listing: what happens as soon as a page was listed.
        before_linking: what happens before edges are drawn.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.after_listing: Callable[[], Awaitable[None]] | None = None
        self.before_linking: Callable[[], Awaitable[None]] | None = None
        self.is_away = False
        self.calls_left: int | None = None
        self.wait_s = 0.0
        self.upserts: list[list[str]] = []

    async def _reach(self) -> None:
        await asyncio.sleep(self.wait_s)
        if self.calls_left is not None:
            self.calls_left -= 1
            self.is_away |= self.calls_left < 0
        if self.is_away:
            raise Unavailable("brain", "made to fail")

    async def open(self) -> None:
        """Open, if it is there."""
        await self._reach()
        await super().open()

    async def read_model(self) -> tuple[str, int] | None:
        """Answer, if it is there."""
        await self._reach()
        return await super().read_model()

    async def upsert(
        self, project_id: str, department: BrainDepartment, items: Sequence[GraphItem]
    ) -> tuple[int, int]:
        """Write, if it is there."""
        await self._reach()
        self.upserts.append([item.id for item in items])
        return await super().upsert(project_id, department, items)

    async def search(
        self, project_id: str, vector: NDArray[np.float32], *, threshold: float, limit: int
    ) -> list[Duplicate]:
        """Search, if it is there."""
        await self._reach()
        return await super().search(project_id, vector, threshold=threshold, limit=limit)

    async def list_newest(self, project_id: str, department: str, limit: int) -> list[KnownItem]:
        """List, if it is there."""
        await self._reach()
        return await super().list_newest(project_id, department, limit)

    async def list_items(
        self, project_id: str, *, after: str = "", limit: int = 1000
    ) -> list[IndexedItem]:
        """List, if it is there."""
        await self._reach()
        page = await super().list_items(project_id, after=after, limit=limit)
        if self.after_listing is not None:
            await self.after_listing()
        return page

    async def link(self, project_id: str, ids: Sequence[str], *, threshold: float) -> int:
        """Draw edges, if it is there."""
        if self.before_linking is not None:
            await self.before_linking()
        await self._reach()
        return await super().link(project_id, ids, threshold=threshold)

    async def save_evaluation(
        self, project_id: str, department: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """Save it, if it is there."""
        await self._reach()
        await super().save_evaluation(project_id, department, version, values)


class BehindHttp:
    """Answers the four calls as a Brain does, whose graph nobody has at hand."""

    def __init__(self, brain: IndexedBrain) -> None:
        self.open, self.upsert = brain.open, brain.upsert


class BrainWorld:
    """A project beside a Brain that may be away.

    Attributes:
        documents: the store.
        content: the project's collection.
        graph: what the Brain keeps.
        embed: counts what is embedded.
        brain: the Brain over the graph.
        access: the way to it.
        items: the project's items, as the Brain is given them.
        project_items: the same, as a run has them.
        outbox: what the Brain has not received yet.
        now: Unix time, seconds; set it to let time pass.
        is_behind_http: whether the Brain answers the four calls, and nothing else.
    """

    def __init__(self, directory: Path) -> None:
        self.now = 1_800_000_000.0
        self.is_behind_http = False
        self.documents = EmbeddedDocuments(directory)
        self.content = EmbeddedContent(directory, PROJECT)
        self.graph = FlakyGraph(directory)
        self.embed = FakeEmbed()
        self.brain = IndexedBrain(
            self.graph, self.embed, MODEL, catalogue=find_department, link_from=0.5
        )
        vectors = VectorCache(self.content, MODEL)
        self.items = BrainItems(self.content, vectors, self.embed)
        self.project_items = ProjectItems(self.content, vectors, self.embed, MODEL)
        self.breakers = CircuitBreaker(
            self.documents, threshold=5, cooldown_s=60, clock=Clock(lambda: self.now)
        )
        self.access = BrainAccess(self.fetch, self.breakers)
        self.outbox = self.make_outbox()

    async def fetch(self) -> Any:
        """Fetch the Brain, which need not be open."""
        return BehindHttp(self.brain) if self.is_behind_http else self.brain

    def make_outbox(self) -> Outbox:
        """Make an outbox as another process has it."""
        pace = DeliveryPace(backoff_s=10, settle_s=60, interval_s=0.01, grace_s=1)
        return Outbox(self.documents, pace=pace, clock=Clock(lambda: self.now), draw=lambda: 1.0)

    async def open(self) -> None:
        """Open the store; the Brain is opened by whoever needs it."""
        await self.documents.open()
        await self.content.open()
        await self.outbox.prepare()

    async def close(self) -> None:
        """Close all."""
        await self.graph.close()
        await self.content.close()
        await self.documents.close()

    def make(self, *names: str, department: BrainDepartment = LEGAL) -> list[SavedItem]:
        """Make items of a department, one after the other."""
        began, self.now = self.now, self.now + len(names)
        return [
            make_item(
                Item(content=f"{name} is what this item says.", summary=name, context=""),
                Automation(
                    run_id="run-1",
                    iteration=1,
                    department=department.slug,
                    department_number=department.code_dep_number,
                    model="m",
                    quality_at_creation=None,
                    content_hash=name,
                    mock=True,
                ),
                "user-1",
                datetime.fromtimestamp(began + place, UTC),
            )
            for place, name in enumerate(names)
        ]

    async def save(self, *names: str, department: BrainDepartment = LEGAL) -> list[str]:
        """Save items as a run does, with an intent before; return their ids."""
        made = self.make(*names, department=department)
        ids = [item.id for item in made]
        await self.outbox.intents.announce(PROJECT, ":".join(names), department, ids)
        await self.project_items.save(made)
        return ids

    async def deliver(self) -> int:
        """Deliver what waits."""
        return await self.outbox.deliver(PROJECT, self.access, self.items)

    async def known(self, slug: str = LEGAL.slug) -> list[str]:
        """List the ids that the Brain has of a department, newest first."""
        await EmbeddedGraph.open(self.graph)
        return [
            item.id for item in await EmbeddedGraph.list_newest(self.graph, PROJECT, slug, 1000)
        ]
