"""Example providers: embeddings of OpenAI and Ollama, with vectors made up from the text.

https://platform.openai.com/docs/api-reference/embeddings
https://github.com/ollama/ollama/blob/main/docs/api.md
"""

import asyncio
import base64
from http import HTTPStatus
from typing import Any, Final, cast

import orjson
from aiohttp import web

from aletheia.adapters.mock.embedder import mock_vector
from deployments.examples.server import LoopbackServer, answer, main

OLLAMA_MODELS: Final = {"nomic-embed-text": 768, "all-minilm": 384}
"""Ollama's models, all installed, and the dimensions of their vectors."""

OPENAI_MODELS: Final = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}

EMBED_S: Final = 0.2
"""Time that Ollama takes for a request where it is to fail later, seconds."""


class ExampleProviders(LoopbackServer):
    """OpenAI's and Ollama's embeddings, without a model behind them. A token is a word.

    After `ollama_fails_after` requests for embeddings Ollama answers 503.
    """

    def __init__(self, *, ollama_fails_after: int | None = None) -> None:
        super().__init__()
        self.requests_left = ollama_fails_after
        self._loaded: set[str] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        body = await request.content.read()
        asked = cast("dict[str, Any]", orjson.loads(body)) if body else {}
        match (request.method, request.path):
            case ("POST", "/v1/embeddings"):
                return _embed_as_openai(asked)
            case ("GET", "/api/version"):
                return answer({"version": "0.12.6"})
            case ("GET", "/api/tags"):
                return answer({"models": [_describe(model) for model in OLLAMA_MODELS]})
            case ("GET", "/api/ps"):
                return answer({"models": [_describe(model) for model in sorted(self._loaded)]})
            case ("POST", path) if path.startswith("/api/"):
                return await self._answer_about_model(path.removeprefix("/api/"), asked)
            case (method, path):
                return answer({"error": f"there is no {method} {path}"}, HTTPStatus.NOT_FOUND)

    async def _answer_about_model(self, endpoint: str, asked: dict[str, Any]) -> web.Response:
        model = str(asked.get("model", "")).removesuffix(":latest")
        if model not in OLLAMA_MODELS:
            return answer({"error": f"model '{model}' not found"}, HTTPStatus.NOT_FOUND)
        match endpoint:
            case "embed":
                return await self._embed_as_ollama(model, asked)
            case "generate":  # the request that unloads a model
                self._loaded.discard(model)
                return answer({"model": model, "done": True, "done_reason": "unload"})
            case "show":
                facts = {"bert.embedding_length": OLLAMA_MODELS[model], "bert.context_length": 2048}
                info = {"general.architecture": "bert", **facts}
                return answer({"model_info": info, "capabilities": ["embedding"]})
            case "pull":
                return answer({"status": "success"})
            case _:
                return answer({"error": f"there is no {endpoint}"}, HTTPStatus.NOT_FOUND)

    async def _embed_as_ollama(self, model: str, asked: dict[str, Any]) -> web.Response:
        if self.requests_left is not None:
            if self.requests_left == 0:
                return answer({"error": "made to fail"}, HTTPStatus.SERVICE_UNAVAILABLE)
            self.requests_left -= 1
            await asyncio.sleep(EMBED_S)
        self._loaded.add(model)
        texts = _read_texts(asked)
        vectors = [mock_vector(model, text, OLLAMA_MODELS[model]).tolist() for text in texts]
        tokens = sum(len(text.split()) for text in texts)
        return answer({"model": model, "embeddings": vectors, "prompt_eval_count": tokens})


def _embed_as_openai(asked: dict[str, Any]) -> web.Response:
    model = str(asked.get("model"))
    if model not in OPENAI_MODELS:
        error = {"message": f"The model `{model}` does not exist.", "code": "model_not_found"}
        return answer({"error": error}, HTTPStatus.NOT_FOUND)
    texts = _read_texts(asked)
    dimensions = int(asked.get("dimensions") or OPENAI_MODELS[model])
    is_base64 = asked.get("encoding_format") == "base64"
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector = mock_vector(model, text, dimensions).astype("<f4")
        embedding = base64.b64encode(vector.tobytes()).decode() if is_base64 else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    tokens = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer({"object": "list", "data": data, "model": model, "usage": usage})


def _read_texts(asked: dict[str, Any]) -> list[str]:
    given: Any = asked.get("input", [])
    return [given] if isinstance(given, str) else given


def _describe(model: str) -> dict[str, Any]:
    """Return a model as Ollama lists it."""
    facts = {"size": 1, "size_vram": 0, "digest": "0" * 64, "expires_at": ""}
    return {"name": f"{model}:latest", **facts}


if __name__ == "__main__":
    about = {"type": int, "help": "requests for embeddings after which Ollama fails"}
    main(
        lambda chosen: ExampleProviders(ollama_fails_after=chosen.ollama_fails_after),
        {"--ollama-fails-after": about},
    )
