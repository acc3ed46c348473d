"""Embeddings through OpenAI's Batch API: a file of requests in, a file of answers within a day.

See https://platform.openai.com/docs/guides/batch and
https://platform.openai.com/docs/api-reference/batch.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import IO, Any, Final, TypeAlias, cast

import orjson
from openai import AsyncOpenAI, Omit, omit

from aletheia.adapters.embedding.parts import Vector
from aletheia.adapters.http_answers import as_object, as_text, excerpt, is_success, make_bad_answer
from aletheia.adapters.openai.batch_files import (
    ENDPOINT,
    read_entry,
    read_lines,
    read_number,
    saving,
    write_lines,
)
from aletheia.adapters.openai.embedder import (
    MAX_TEXT_TOKENS,
    OPENAI,
    OPENAI_URL,
    OpenAIEmbedder,
    read_tokens,
    read_vectors,
)
from aletheia.adapters.openai.tokens import TokenTables, count_bytes
from aletheia.adapters.openai.wire import (
    ErrorAnswer,
    RawResponse,
    exchange,
    load_object,
    make_client,
    read_error,
)
from aletheia.analysis.processor import Finished
from aletheia.errors import AletheiaError, BadAnswer, ComputeFailed, Refused, Unavailable
from aletheia.intake.bulk.ports import Phase, ProviderBatch

MAX_REQUESTS: Final = 50_000
"""Requests in a batch, and also embedding inputs in a batch; a request here has one input."""

MAX_INPUT_BYTES: Final = 200_000_000
"""Bytes of a batch's input file."""

MAX_OUTPUT_BYTES: Final = 4 * 2**30
"""How much of a file of answers is read, bytes; 50,000 vectors of 3,072 written out are 3.4 GB."""

_CHUNK_BYTES: Final = 2**20
"""More than a connection gives at once."""

METADATA_KEY: Final = "aletheia_batch"
"""Under what name a batch carries our own id."""

MAX_PAGES: Final = 100
"""Pages of 100 batches that are looked through for one of ours."""

_ENVELOPE: Final = len(f'{{"custom_id":"{MAX_REQUESTS}","method":"POST","url":"{ENDPOINT}",') + 16
"""Bytes of a line around its request, at most."""

_LONG_BYTES_PER_TOKEN: Final = 8
"""A text of more bytes than this for each token that is allowed is too long to be counted here."""

_PHASES: Final[Mapping[str, Phase]] = {
    "validating": "running",
    "in_progress": "running",
    "finalizing": "running",
    "cancelling": "running",
    "completed": "ended",
    "expired": "ended",
    "cancelled": "ended",
    "failed": "failed",
}

Begin: TypeAlias = Callable[[AsyncOpenAI], AbstractAsyncContextManager[RawResponse]]
"""Begins a request whose answer is not read yet."""

log = logging.getLogger(__name__)


class OpenAIBatches(OpenAIEmbedder):
    """The embedder's client, put to use for batches.

    A request of a batch holds one text, so that one that is refused is refused alone. Texts longer
    than the model reads are none for a batch: the embedder shortens them as it is told to.

    Args: as of the embedder, and
        transfer_timeout_s: bound on sending or fetching one file, seconds.
        max_output_bytes: how much of a file of answers is read; what lies beyond is left out.
    """

    max_lines = MAX_REQUESTS
    max_bytes = MAX_INPUT_BYTES

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = OPENAI_URL,
        default_model: str = "text-embedding-3-small",
        dimensions: int | None = None,
        timeout_s: float = 60.0,
        transfer_timeout_s: float = 1800.0,
        max_text_tokens: int = MAX_TEXT_TOKENS,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        tables: TokenTables | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            api_key,
            base_url=base_url,
            default_model=default_model,
            dimensions=dimensions,
            timeout_s=timeout_s,
            max_text_tokens=max_text_tokens,
            tables=tables,
            clock=clock,
        )
        self._transfer_timeout_s = transfer_timeout_s
        self._max_output_bytes = max_output_bytes
        self._downloads: AsyncOpenAI | None = None

    def __repr__(self) -> str:
        return f"OpenAIBatches({self._base_url!r}, ***)"

    def weigh(self, model: str, task_input: Mapping[str, Any]) -> int | None:
        """Count a text's tokens, at most; `None` if it may be too long for the model."""
        text: str = task_input["text"]
        size = count_bytes(text)
        encoding = self._tables.ready(model)
        if encoding is not None and size <= self._max_text_tokens * _LONG_BYTES_PER_TOKEN:
            size = len(encoding.encode_ordinary(text))
        return size if size <= self._max_text_tokens else None

    def body_of(self, model: str, task_input: Mapping[str, Any]) -> bytes:
        """Write the request for one text."""
        body: dict[str, Any] = {"model": model, "input": task_input["text"]}
        if self._asked_dimensions is not None:
            body["dimensions"] = self._asked_dimensions
        return orjson.dumps({**body, "encoding_format": "base64"})

    def size_of(self, body: bytes) -> int:
        """Bound the bytes of a request's line."""
        return _ENVELOPE + len(body)

    async def open(self) -> None:
        """Make ready to send. Idempotent."""
        await super().open()
        if self._downloads is None:
            self._downloads = make_client(
                self._api_key,
                self._base_url,
                timeout_s=self._timeout_s,
                provider=OPENAI,
                max_answer_bytes=self._max_output_bytes + _CHUNK_BYTES,
            )

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        downloads, self._downloads = self._downloads, None
        if downloads is not None:
            await downloads.close()
        await super().close()

    async def check(self) -> None:
        """Ask for a list of one batch; also wait a little for the tables texts are weighed with."""
        await self._ask(lambda client: client.batches.with_streaming_response.list(limit=1))
        await self._tables.find(self._default_model)

    async def upload(self, key: str, requests: Mapping[int, bytes]) -> str:
        """Upload requests as JSON lines; OpenAI deletes the file after 30 days.

        Raises:
            Unavailable: out of reach, 429 or 5xx, or too slow.
            BadAnswer: not what the API promises.
            Refused: 4xx.
        """
        with tempfile.TemporaryFile() as file:
            await asyncio.to_thread(write_lines, file, requests)
            named = (f"{key}.jsonl", file, "application/jsonl")
            stored = await self._ask(
                lambda client: client.files.with_streaming_response.create(
                    file=named, purpose="batch", timeout=self._transfer_timeout_s
                ),
                timeout_s=self._transfer_timeout_s,
            )
        return _read_text(stored, "id", "file")

    async def create(self, key: str, input_file: str) -> ProviderBatch:
        """Submit an uploaded file, with our id in the batch's metadata."""
        created = await self._ask(
            lambda client: client.batches.with_streaming_response.create(
                input_file_id=input_file,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={METADATA_KEY: key},
            )
        )
        return self._read_batch(created)

    async def find(self, key: str) -> list[ProviderBatch]:
        """Look through all batches of the account for those that carry `key`, oldest first.

        Raises:
            BadAnswer: not what the API promises, or a list of more than 10,000 batches.
        """
        found: list[ProviderBatch] = []
        after: str | Omit = omit
        for _ in range(MAX_PAGES):
            begin = partial(_list_batches, after=after)
            page = await self._ask(begin)
            data = page.get("data")
            if not isinstance(data, list):
                raise BadAnswer(OPENAI, "no list of batches", status=200)
            batches = [as_object(batch) for batch in cast("list[object]", data)]
            found += [
                self._read_batch(batch)
                for batch in batches
                if as_object(batch.get("metadata")).get(METADATA_KEY) == key
            ]
            if not batches or page.get("has_more") is not True:
                return sorted(found, key=lambda batch: batch.created_at)
            after = _read_text(batches[-1], "id", "batch")
        raise BadAnswer(OPENAI, f"more than {MAX_PAGES} pages of batches")

    async def poll(self, batch_id: str) -> ProviderBatch:
        """Ask how far a batch has come."""
        found = await self._ask(
            lambda client: client.batches.with_streaming_response.retrieve(batch_id)
        )
        return self._read_batch(found)

    async def cancel(self, batch_id: str) -> None:
        """Stop a batch; what it has done by then is answered, and paid."""
        try:
            await self._ask(lambda client: client.batches.with_streaming_response.cancel(batch_id))
        except Refused as refusal:
            log.info("batch %s is not cancelled: %s", batch_id, refusal)

    async def answers(self, batch: ProviderBatch, model: str) -> AsyncGenerator[Sequence[Finished]]:
        """Fetch the files of a batch one after the other and read them line by line.

        A file is fetched whole before it is read, so that nobody's slowness holds a connection.
        """
        for file_id in (batch.output_file, batch.error_file):
            if file_id is None:
                continue
            with tempfile.TemporaryFile() as file:
                await self._download(file_id, file)
                file.seek(0)
                while lines := await asyncio.to_thread(read_lines, file):
                    yield await asyncio.to_thread(self._read_answers, model, lines)

    async def forget(self, batch: ProviderBatch) -> None:
        """Delete the files of a batch, which hold the texts and their vectors."""
        for file_id in (batch.input_file, batch.output_file, batch.error_file):
            if file_id:
                await self.discard(file_id)

    async def discard(self, file_id: str) -> None:
        """Delete a file; where that fails, OpenAI does so after 30 days."""
        try:
            await self._ask(partial(_delete_file, file_id=file_id))
        except AletheiaError as problem:
            log.warning("the file %s stays where it is: %s", file_id, problem)

    async def _download(self, file_id: str, into: IO[bytes]) -> None:
        if self._downloads is None:
            raise RuntimeError("the client is not open")
        opening = self._downloads.files.with_streaming_response.content(file_id)
        await self._exchange(
            lambda: saving(opening, into, self._max_output_bytes), self._transfer_timeout_s
        )

    async def _ask(self, begin: Begin, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Send one request and read the JSON object it is answered with."""
        client = self._client
        if client is None:
            raise RuntimeError("the client is not open")
        body = await self._exchange(lambda: begin(client), timeout_s or self._timeout_s)
        try:
            return load_object(body)
        except ValueError as error:
            raise make_bad_answer(OPENAI, str(error), body, self._api_key) from None

    async def _exchange(
        self, send: Callable[[], AbstractAsyncContextManager[RawResponse]], timeout_s: float
    ) -> bytes:
        outcome = await exchange(send, provider=OPENAI, timeout_s=timeout_s, clock=self._clock)
        if isinstance(outcome, bytes):
            return outcome
        if isinstance(outcome, ErrorAnswer):
            outcome = outcome.to_error(OPENAI, self._api_key)
        raise outcome

    def _read_batch(self, found: dict[str, Any]) -> ProviderBatch:
        status = _read_text(found, "status", "batch")
        if status not in _PHASES:
            log.warning("a batch with status %.100r, which is taken to be running", status)
        created_at = found.get("created_at")
        problems = as_object(found.get("errors")).get("data")
        shown = cast("list[object]", problems)[:3] if isinstance(problems, list) else []
        return ProviderBatch(
            id=_read_text(found, "id", "batch"),
            phase=_PHASES.get(status, "running"),
            status=status[:100],
            created_at=float(created_at) if isinstance(created_at, int | float) else 0.0,
            input_file=as_text(found.get("input_file_id")),
            output_file=as_text(found.get("output_file_id")) or None,
            error_file=as_text(found.get("error_file_id")) or None,
            reason=excerpt("; ".join(map(_show_problem, shown)), self._api_key),
        )

    def _read_answers(self, model: str, lines: Sequence[bytes]) -> list[Finished]:
        finished: list[Finished] = []
        read: list[tuple[int, Vector, int | None]] = []
        for line in lines:
            entry = read_entry(line)
            number = read_number(entry)
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

    def _read_answer(self, entry: dict[str, Any]) -> tuple[Vector, int | None]:
        """Read the answer to one request.

        Raises:
            Unavailable: it was not worked on, or the answer is no good.
            AletheiaError: what the status of the answer means for a request that is sent alone.
        """
        response = as_object(entry.get("response"))
        body = as_object(response.get("body"))
        status = response.get("status_code")
        if type(status) is not int:
            why = _show_problem(entry.get("error"))
            raise Unavailable(OPENAI, excerpt(why, self._api_key))
        if not is_success(status):
            said = as_object(body.get("error"))
            raise self._translate(read_error(said or body, status))
        try:
            (vector,) = read_vectors(body, 1)
        except ValueError as error:
            raise BadAnswer(OPENAI, str(error), status=status) from None
        return vector, read_tokens(body)


def _list_batches(
    client: AsyncOpenAI, after: str | Omit
) -> AbstractAsyncContextManager[RawResponse]:
    return client.batches.with_streaming_response.list(after=after, limit=100)


def _delete_file(client: AsyncOpenAI, file_id: str) -> AbstractAsyncContextManager[RawResponse]:
    return client.files.with_streaming_response.delete(file_id)


def _show_problem(problem: object) -> str:
    values = as_object(problem)
    return f"{as_text(values.get('code'))}: {as_text(values.get('message'))}"


def _read_text(found: Mapping[str, Any], name: str, what: str) -> str:
    text = as_text(found.get(name))
    if not text:
        raise BadAnswer(OPENAI, f"a {what} without {name}", status=200)
    return text
