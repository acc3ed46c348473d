"""What reads recordings, in processes with limits."""

from aletheia.adapters.audio.analyser import ChildAnalyser
from aletheia.adapters.children.pool import Children
from aletheia.analysis.audio_ports import AudioAnalyser
from tasks.session import current_session, once


@once
async def get_analyser() -> AudioAnalyser:
    """Return what measures recordings; its processes are started when they are needed."""
    session = current_session()
    settings = session.settings
    children = Children(settings.audio.audio_memory_max, count=settings.decoders.decoder_processes)
    return ChildAnalyser(await session.clients.open(children), settings.audio)
