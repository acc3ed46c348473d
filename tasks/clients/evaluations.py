"""The requests for evaluations of a project, and their results."""

from aletheia.quality.evaluation_store import EvaluationStore
from tasks.clients.brain import get_outbox
from tasks.clients.store import get_store
from tasks.session import current_session


async def get_evaluations(project_id: str) -> EvaluationStore:
    """Return the requests and results of a project."""

    async def build() -> EvaluationStore:
        announce = (await get_outbox()).intents.announce_evaluation
        store = EvaluationStore(await get_store(), project_id, announce=announce)
        await store.open()
        return store

    return await current_session().clients.build(("evaluations", project_id), build)
