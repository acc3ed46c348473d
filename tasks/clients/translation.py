"""What translates on this machine, in processes with limits."""

from aletheia.adapters.children.pool import Children
from aletheia.adapters.translation.translator import MEMORY_BYTES, ChildTranslator
from aletheia.analysis.ports import Translator
from tasks.session import current_session, once


@once
async def get_translator() -> Translator:
    """Return what translates; its processes are started when they are needed."""
    session = current_session()
    children = await session.clients.open(Children(MEMORY_BYTES))
    return ChildTranslator(children, wall_s=session.settings.workers.task_timeout)
