"""How intents get into the Brain: read what they name, send it, settle what it refuses."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from aletheia.brain.access import BrainAccess
from aletheia.brain.dead_items import DeadItems
from aletheia.brain.intents import Intent, Intents
from aletheia.brain.items import BrainItems
from aletheia.brain.ports import BrainDepartment, FailedItem
from aletheia.documents import Documents
from aletheia.errors import InvalidTask, Refused
from aletheia.items.content import SavedItem
from aletheia.quality.evaluation import evaluation_id
from aletheia.quality.evaluation_store import EVALUATIONS, choose_plain
from aletheia.store.clock import Clock, microseconds
from aletheia.store.cursor import CursorPace

log = logging.getLogger(__name__)

_OUR_FAULT: Final = frozenset({400, 413, 422})
"""What a service answers to items it will never take; anything else may pass."""


@dataclass(frozen=True, slots=True)
class DeliveryPace(CursorPace):
    """How patient delivering is; all in seconds."""

    timeout_s: float = 60.0
    lease_s: float = 180.0
    interval_s: float = 5.0
    gather_s: float = 1.0
    grace_s: float = 5.0
    settle_s: float = 120.0  # how long an intent waits for what it names to be saved


@dataclass(frozen=True, slots=True)
class Delivery:
    """The way of one project's intents into the Brain."""

    documents: Documents
    intents: Intents
    dead_items: DeadItems
    project_id: str
    access: BrainAccess
    items: BrainItems
    clock: Clock
    pace: DeliveryPace

    async def send(self, intents: list[Intent]) -> int | None:
        """Deliver intents that go together.

        Returns:
            How many items and evaluations the Brain took; `None` if what the first intent names is
            not saved yet.

        Raises:
            AletheiaError: the Brain did not take them, for now.
        """
        if intents[0].version is not None:
            return await self._send_evaluation(intents[0])
        ids = list(dict.fromkeys(item_id for intent in intents for item_id in intent.item_ids))
        department = intents[0].department
        own, unsaved = await self.items.read(ids, department.slug)
        missing = set(unsaved)
        ready = list(
            takewhile(
                lambda intent: missing.isdisjoint(intent.item_ids) or not self._is_young(intent),
                intents,
            )
        )
        if not ready:
            return None
        if len(ready) < len(intents):
            return await self.send(ready)
        failed: Sequence[FailedItem] = ()
        try:
            if own:
                failed = await self._upsert(department, own)
        except (Refused, InvalidTask) as error:
            if not _is_our_fault(error):
                raise
            if len(intents) > 1:
                # Which of them is at fault shows when each is sent alone.
                return await self.send(intents[:1])
            failed = [FailedItem(item.id, error.code) for item in own]
        await self.dead_items.add_items(self.project_id, department.slug, failed)
        await self.intents.forget(intents)
        return len(own) - len(failed)

    async def _upsert(
        self, department: BrainDepartment, own: Sequence[SavedItem]
    ) -> Sequence[FailedItem]:
        prepared = await self.items.prepare(own)
        async with self.access.using(timeout_s=self.pace.timeout_s) as brain:
            return (await brain.upsert(self.project_id, department, prepared)).failed

    async def _send_evaluation(self, intent: Intent) -> int | None:
        """Deliver an evaluation as it is by now; see `send`."""
        slug, version = intent.department.slug, intent.version or ""
        name = evaluation_id(self.project_id, slug, version)
        stored = (await self.documents.get(EVALUATIONS, [name])).get(name)
        is_saved = stored is not None and int(stored["attempt"]) >= intent.attempt
        if not is_saved and self._is_young(intent):
            return None
        taken = 0
        if stored is not None and is_saved:
            plain = choose_plain(stored)
            try:
                async with self.access.using(timeout_s=self.pace.timeout_s) as brain:
                    if brain.upkeep is not None:
                        await brain.upkeep.save_evaluation(self.project_id, slug, version, plain)
                        taken = 1
            except (Refused, InvalidTask) as error:
                if not _is_our_fault(error):
                    raise
                log.warning(
                    "the Brain keeps no evaluation of %s in %s: %s", slug, self.project_id, error
                )
        await self.intents.forget([intent])
        return taken

    def _is_young(self, intent: Intent) -> bool:
        """Return whether what an intent names may be just about to be saved."""
        # Clocks of two machines may differ: what is still to come is young, too.
        return abs(self.clock.now() - intent.seq) < microseconds(self.pace.settle_s)


def _is_our_fault(error: Refused | InvalidTask) -> bool:
    return isinstance(error, InvalidTask) or error.status in _OUR_FAULT
