"""The fakes of OpenAI and Ollama as a process of their own, for the demo and the benches.

    python -m tests.fakes.providers [--latency 0.2] [--ollama-fails-after 1]

They speak the protocols as strictly as in the tests; their vectors are made up from the text.
"""

import argparse
import asyncio
import json
import os
import signal

from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenAI

MODELS = ("nomic-embed-text", "all-minilm")
"""What the fake Ollama has; the first one is installed, the others have to be pulled."""

LOOK_EVERY_S = 0.02
EMBED_S = 0.2
"""How long the fake Ollama works on a request where it is to fail later, seconds."""


async def serve(latency_s: float, fails_after: int | None) -> None:
    """Serve until SIGTERM or SIGINT; print one JSON line once both listen."""
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    openai, ollama = FakeOpenAI(), FakeOllama()
    openai.delay_s = ollama.delay_s = latency_s
    ollama.install(MODELS[0])
    addresses = {"openai": await openai.start(), "url": await ollama.start()}
    announced = {**addresses, "api_key": openai.api_key, "pid": os.getpid()}
    print(json.dumps(announced), flush=True)  # noqa: T201
    failing = None
    if fails_after is not None:
        ollama.embed_s = EMBED_S
        failing = asyncio.create_task(_fail_after(ollama, fails_after))
    try:
        await ended.wait()
    finally:
        if failing is not None:
            failing.cancel()
        await openai.stop()
        await ollama.stop()


async def _fail_after(ollama: FakeOllama, requests: int) -> None:
    """Let some requests for embeddings through and answer all later ones with 503."""
    while ollama.count("embed") < requests:
        await asyncio.sleep(LOOK_EVERY_S)
    ollama.fail_next(*[503] * 100_000, on="embed", body=b'{"error":"made to fail"}')


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="providers", description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="of every answer, seconds")
    parser.add_argument(
        "--ollama-fails-after", type=int, help="requests for embeddings after which it fails"
    )
    options = parser.parse_args()
    asyncio.run(serve(options.latency, options.ollama_fails_after))


if __name__ == "__main__":
    main()
