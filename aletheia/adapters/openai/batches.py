"""Embeddings through OpenAI's Batch API, see https://platform.openai.com/docs/guides/batch."""

import asyncio
import itertools
import logging
import os
import re
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus
from typing import IO, Any, Final, cast
from urllib.parse import quote

import aiohttp
import orjson

from aletheia.adapters.embedding.parts import Vector
from aletheia.adapters.embedding.remote import EmbedderPlan
from aletheia.adapters.http import Body
from aletheia.adapters.http_answers import Answer, as_object, as_text, excerpt, is_success
from aletheia.adapters.openai.embedder import OPENAI, OpenAIEmbedder, read_tokens, read_vectors
from aletheia.adapters.openai.tokens import TokenTables, count_bytes
from aletheia.adapters.openai.wire import Api, ErrorAnswer, read_error, read_json, read_refusal
from aletheia.analysis.processor import Finished
from aletheia.errors import AletheiaError, BadAnswer, ComputeFailed, Refused, Unavailable
from aletheia.intake.bulk.ports import Phase, ProviderBatch
from aletheia.resilience.breaker import CircuitBreaker

MAX_REQUESTS: Final = 50_000
"""Requests in a batch, and also embedding inputs in a batch; a request here has one input."""

MAX_LINE_BYTES: Final = 2 * 2**20
"""Longest line of answers that is read, bytes; longer ones are passed over."""

LINES_AT_ONCE: Final = 256
"""Answers that are handed on together."""

ENDPOINT: Final = "/v1/embeddings"

METADATA_KEY: Final = "aletheia_batch"
"""Under what name a batch carries our own id."""

MAX_PAGES: Final = 100
"""Pages of 100 batches that are searched for one of ours."""

_ENVELOPE: Final = len(f'{{"custom_id":"{MAX_REQUESTS}","method":"POST","url":"{ENDPOINT}",') + 16
"""Bytes of a line around its request, at most."""

_LONG_BYTES_PER_TOKEN: Final = 8
"""A text of more bytes than this for each token that is allowed is too long to be counted here."""

MAX_MOMENT_S: Final = 1e12
"""Latest time that is read, seconds since the epoch."""

_PHASES: Final[Mapping[str, Phase]] = {
    **dict.fromkeys(("validating", "in_progress", "finalizing", "cancelling"), "running"),
    **dict.fromkeys(("completed", "expired", "cancelled"), "ended"),
    "failed": "failed",
}

log = logging.getLogger(__name__)


class OpenAIBatches(OpenAIEmbedder):
    """The embedder's client for batches of one text a request, behind the `breakers`."""

    max_lines = MAX_REQUESTS
    max_bytes = 200_000_000  # in a batch's input file
    max_output_bytes = 4 * 2**30  # that are read; 50,000 vectors of 3,072 written out are 3.4 GB
    transfer_timeout_s: float = 1800.0  # for sending or fetching one file

    def __init__(
        self,
        api: Api,
        plan: EmbedderPlan,
        tables: TokenTables | None = None,
        breakers: CircuitBreaker | None = None,
    ) -> None:
        super().__init__(api, plan, tables)
        self._breakers = breakers

    def weigh(self, model: str, task_input: Mapping[str, Any]) -> int | None:
        """Count a text's tokens, at most; `None` if it may be too long for the model."""
        text: str = task_input["text"]
        size = count_bytes(text)
        encoding = self._tables.ready(model)
        if encoding is not None and size <= self.max_text_tokens * _LONG_BYTES_PER_TOKEN:
            size = len(encoding.encode_ordinary(text))
        return size if size <= self.max_text_tokens else None

    def body_of(self, model: str, task_input: Mapping[str, Any]) -> bytes:
        """Write the request for one text."""
        body: dict[str, Any] = {"model": model, "input": task_input["text"]}
        if self._plan.dimensions is not None:
            body["dimensions"] = self._plan.dimensions
        return orjson.dumps({**body, "encoding_format": "base64"})

    def size_of(self, body: bytes) -> int:
        """Bound the bytes of a request's line."""
        return _ENVELOPE + len(body)

    async def check(self) -> None:
        """Ask for a list of one batch; also wait a little for the tables texts are weighed with."""
        await self._ask("GET", "batches", query={"limit": "1"})
        await self._tables.find(self._plan.default_model)

    async def upload(self, key: str, requests: Mapping[int, bytes]) -> str:
        """See `aletheia.intake.bulk.ports.Batches.upload`; the file lives for 30 days."""
        with tempfile.TemporaryFile() as file:
            lines = await asyncio.to_thread(_write_lines, file, requests)
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", lines, filename=f"{key}.jsonl", content_type="application/jsonl")
            stored = await self._ask("POST", "files", form, timeout_s=self.transfer_timeout_s)
        return _read_text(stored, "id", "file")

    async def create(self, key: str, input_file: str) -> ProviderBatch:
        """Submit an uploaded file, with our id in the batch's metadata."""
        asked = {
            "input_file_id": input_file,
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            "metadata": {METADATA_KEY: key},
        }
        return self._read_batch(await self._ask("POST", "batches", orjson.dumps(asked)))

    async def find(self, key: str) -> list[ProviderBatch]:
        """See `aletheia.intake.bulk.ports.Batches.find`; at most 10,000 batches are listed."""
        found: list[ProviderBatch] = []
        query = {"limit": "100"}
        for _ in range(MAX_PAGES):
            page = await self._ask("GET", "batches", query=query)
            data = page.get("data")
            if not isinstance(data, list):
                raise BadAnswer(OPENAI, "no list of batches", status=HTTPStatus.OK)
            batches = [as_object(batch) for batch in cast("list[object]", data)]
            found += [
                self._read_batch(batch)
                for batch in batches
                if as_object(batch.get("metadata")).get(METADATA_KEY) == key
            ]
            if not batches or page.get("has_more") is not True:
                return sorted(found, key=lambda batch: batch.created_at)
            query["after"] = _read_text(batches[-1], "id", "batch")
        raise BadAnswer(OPENAI, f"more than {MAX_PAGES} pages of batches")

    async def poll(self, batch_id: str) -> ProviderBatch:
        """Ask how far a batch has come."""
        return self._read_batch(await self._ask("GET", f"batches/{quote(batch_id, '')}"))

    async def cancel(self, batch_id: str) -> None:
        """Stop a batch; what it has done by then is answered, and paid."""
        try:
            await self._ask("POST", f"batches/{quote(batch_id, '')}/cancel")
        except Refused as refusal:
            log.info("batch %s is not cancelled: %s", batch_id, refusal)

    async def answers(self, batch: ProviderBatch, model: str) -> AsyncGenerator[Sequence[Finished]]:
        """See `aletheia.intake.bulk.ports.Batches.answers`; a file is fetched whole first."""
        for file_id in (batch.output_file, batch.error_file):
            if file_id is None:
                continue
            with tempfile.TemporaryFile() as file:
                await self._download(file_id, file)
                file.seek(0)
                while lines := await asyncio.to_thread(_read_lines, file):
                    yield await asyncio.to_thread(self._read_answers, model, lines)

    async def forget(self, batch: ProviderBatch) -> None:
        """Delete the files of a batch, which hold the texts and their vectors."""
        for file_id in (batch.input_file, batch.output_file, batch.error_file):
            if file_id:
                await self.discard(file_id)

    async def discard(self, file_id: str) -> None:
        """Delete a file; where that fails, OpenAI does so after 30 days."""
        try:
            self._check_answer(await self._api.ask("DELETE", f"files/{quote(file_id, '')}"))
        except AletheiaError as problem:
            log.warning("the file %s stays where it is: %s", file_id, problem)

    async def _download(self, file_id: str, into: IO[bytes]) -> None:
        """Fetch a file, up to `max_output_bytes`."""
        left = self.max_output_bytes
        try:
            async with (
                self._guarding(),
                asyncio.timeout(self.transfer_timeout_s),
                self._api.fetch(f"files/{quote(file_id, '')}/content") as content,
            ):
                if isinstance(content, Answer):
                    raise read_refusal(content).to_error(OPENAI, self._api.key)
                while left >= 0 and (chunk := await content.readany()):
                    into.write(chunk[:left])
                    left -= len(chunk)
        except TimeoutError:
            late = f"no complete file within {self.transfer_timeout_s:g} s"
            raise Unavailable(OPENAI, late) from None
        if left < 0:
            log.error("a file of answers is too long, and is not read to its end")

    async def _ask(
        self, method: str, path: str, body: Body | None = None, **options: Any
    ) -> dict[str, Any]:
        async with self._guarding():
            return self._check_answer(await self._api.ask(method, path, body, **options))

    def _guarding(self) -> AbstractAsyncContextManager[object]:
        return self._breakers.guarding(OPENAI) if self._breakers else nullcontext()

    def _check_answer(self, answer: dict[str, Any] | ErrorAnswer) -> dict[str, Any]:
        if isinstance(answer, ErrorAnswer):
            raise answer.to_error(OPENAI, self._api.key)
        return answer

    def _read_batch(self, found: dict[str, Any]) -> ProviderBatch:
        status = _read_text(found, "status", "batch")
        if status not in _PHASES:
            log.warning("a batch with status %.100r, which is taken to be running", status)
        problems = as_object(found.get("errors")).get("data")
        shown = cast("list[object]", problems)[:3] if isinstance(problems, list) else []
        return ProviderBatch(
            id=_read_text(found, "id", "batch"),
            phase=_PHASES.get(status, "running"),
            status=status[:100],
            created_at=_read_moment(found.get("created_at")),
            input_file=as_text(found.get("input_file_id")),
            output_file=as_text(found.get("output_file_id")) or None,
            error_file=as_text(found.get("error_file_id")) or None,
            reason=excerpt("; ".join(map(_show_problem, shown)), self._api.key),
        )

    def _read_answers(self, model: str, lines: Sequence[bytes]) -> list[Finished]:
        finished: list[Finished] = []
        read: list[tuple[int, Vector | ComputeFailed, int | None]] = []
        for line in lines:
            number, entry = _read_entry(line)
            if number is None:
                log.warning("a line of a batch's answers cannot be read and is passed over")
                continue
            try:
                vector, tokens = self._read_answer(entry)
                read.append((number, vector, tokens))
            except AletheiaError as problem:
                finished.append(Finished(number, error=problem))
        if not read:
            return finished
        try:
            checked = self._check_vectors(model, [vector for _, vector, _ in read])
        except BadAnswer as problem:
            return finished + [Finished(number, error=problem) for number, _, _ in read]
        for (number, _, tokens), vector in zip(read, checked, strict=True):
            usage = None if tokens is None else {"tokens": tokens}
            if isinstance(vector, ComputeFailed):
                finished.append(Finished(number, usage=usage, error=vector))
                continue
            record = {"model": model, "provider": OPENAI, "dimensions": len(vector)}
            finished.append(Finished(number, {"embedding": vector, **record}, record, usage))
        return finished

    def _read_answer(self, entry: dict[str, Any]) -> tuple[Vector | ComputeFailed, int | None]:
        """Read the answer to one request, or raise what it means for one that is sent alone."""
        response = as_object(entry.get("response"))
        body = as_object(response.get("body"))
        status = response.get("status_code")
        if type(status) is not int:
            why = _show_problem(entry.get("error"))
            raise Unavailable(OPENAI, excerpt(why, self._api.key))
        if not is_success(status):
            said = as_object(body.get("error"))
            raise self._translate(read_error(said or body, status))
        try:
            (vector,) = read_vectors(body, 1)
        except ValueError as error:
            raise BadAnswer(OPENAI, str(error), status=status) from None
        return vector, read_tokens(body)


def _write_lines(file: IO[bytes], requests: Mapping[int, bytes]) -> IO[bytes]:
    """Write requests, by number; return the file to read, for aiohttp to close in a thread."""
    for number, body in requests.items():
        head = b'{"custom_id":"%d","method":"POST","url":"%b","body":' % (number, ENDPOINT.encode())
        file.write(head + body + b"}\n")
    file.seek(0)
    return os.fdopen(file.fileno(), "rb", closefd=False)


def _read_lines(file: IO[bytes]) -> list[bytes]:
    """Read the next lines that are neither blank nor too long; none at the end."""

    def read() -> Iterator[bytes]:
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                log.error("a line of more than %s bytes is passed over", f"{MAX_LINE_BYTES:,}")
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
            elif line.strip():
                yield line

    return list(itertools.islice(read(), LINES_AT_ONCE))


def _read_entry(line: bytes) -> tuple[int | None, dict[str, Any]]:
    """Read a line, and which request it answers; `None` for a line that does not say."""
    try:
        entry = as_object(read_json(line))
    except ValueError:
        return None, {}
    number = entry.get("custom_id")
    if not isinstance(number, str) or not re.fullmatch(r"[0-9]{1,5}", number, re.ASCII):
        return None, {}
    return int(number), entry


def _read_moment(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value < MAX_MOMENT_S:
        return float(value)
    return 0.0


def _show_problem(problem: object) -> str:
    values = as_object(problem)
    return f"{as_text(values.get('code'))}: {as_text(values.get('message'))}"


def _read_text(found: Mapping[str, Any], name: str, what: str) -> str:
    text = as_text(found.get(name))
    if not text:
        raise BadAnswer(OPENAI, f"a {what} without {name}", status=HTTPStatus.OK)
    return text
