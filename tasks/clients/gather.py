"""What a gather run works with, above all the chat model."""

from collections.abc import Callable

from aletheia.adapters.mock.chat import MOCK_MODEL
from aletheia.events.log import EventLog
from aletheia.gather.batches import GatherDeps
from aletheia.gather.event_derivation import EventEmitter
from aletheia.gather.generation import GenerationPlan
from aletheia.gather.knowledge import Knowledge
from aletheia.gather.progress import RunOrder
from aletheia.gather.runs import GatherRuns
from aletheia.gather.scoring import QualityScorer
from aletheia.items.dedup import Deduplicator
from aletheia.items.duplicate_judge import DuplicateJudge
from aletheia.items.project_items import ProjectItems
from aletheia.items.vector_cache import VectorCache
from aletheia.items.word_vectors import WordVectors
from aletheia.llm.answers import SavedAnswers
from aletheia.llm.asking import AskPlan
from aletheia.quality.embedding import QualityCounter
from aletheia.text.language import guess_language
from tasks.clients.brain import get_brain_access, get_outbox
from tasks.clients.chat import get_chat, get_default_model
from tasks.clients.content import get_calibrations, get_content, get_decisions
from tasks.clients.embedding import get_item_model
from tasks.clients.metering import get_spending
from tasks.clients.store import get_store
from tasks.session import current_session


async def build_gather_deps(order: RunOrder) -> GatherDeps:
    """Build what the steps of a run work with."""
    settings = current_session().settings
    store, content = await get_store(), await get_content(order.project_id)
    chat, model = await get_chat(), await get_item_model()
    items = ProjectItems(content, VectorCache(content, model.vectors), model.embed, model.name)
    runs = GatherRuns(store)
    await runs.prepare()
    default_model = await get_default_model()
    ask = AskPlan(default_model)
    verdicts = SavedAnswers(store, f"{order.project_id}:duplicates")
    calibrations = await get_calibrations()
    chosen = await calibrations.choose(order.run_id, model.name, order.project_id)
    return GatherDeps(
        runs=runs,
        items=items,
        chat=chat,
        plan=GenerationPlan(default_model, items=settings.gather.gather_batch_items),
        deduplicator=Deduplicator(
            chosen.calibration,
            guarded_pairs=settings.gather.guarded_pairs,
            words=WordVectors(items.embed),
        ),
        scorer=QualityScorer(
            QualityCounter(None if model.is_mock else items.embed_each), chat, ask
        ),
        budgets=(await get_spending()).budgets,
        judge=DuplicateJudge(chat, verdicts, plan=ask),
        decisions=await get_decisions(order.project_id),
        brain=Knowledge(await get_brain_access(), await get_outbox(), order.project_id, items),
        language_of=guess_language,
    )


async def build_emitter(notify: Callable[[], object] = lambda: None) -> EventEmitter:
    """Build what adds the events of a run to the log, and calls `notify` then."""
    mock = MOCK_MODEL if (await get_chat()).is_mock else None
    model = await get_default_model()
    return EventEmitter(EventLog(await get_store()), model, mock=mock, notify=notify)
