"""The service over a Brain, as `deployments/serve.py` puts it together."""

from fastapi import FastAPI

from aletheia.brain.index import IndexedBrain
from aletheia.service.app import create_app
from aletheia.service.brain import BrainSource, make_brain_router
from aletheia.service.guarding import BearerKey, guarded_by
from aletheia.service.health import Ping

BRAIN_KEY = "a-key-of-the-brain-that-is-long-enough"


def make_brain_app(brain: IndexedBrain, key: str = BRAIN_KEY) -> FastAPI:
    """The application."""

    async def build() -> IndexedBrain:
        return brain

    source, guard = BrainSource(build), BearerKey(key, "BRAIN_SERVICE_API_KEY")
    router = make_brain_router(source, guarded_by(guard))
    pings = [Ping("brain", source.ping), Ping("brain key", guard.ping, is_needed=False)]
    return create_app([router], guard, pings)
