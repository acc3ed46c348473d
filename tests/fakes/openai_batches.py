"""A strict OpenAI API with files and batches of embeddings.

States, codes and limits are those of https://platform.openai.com/docs/api-reference/batch,
https://platform.openai.com/docs/api-reference/files and
https://platform.openai.com/docs/guides/batch.
"""

import itertools
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson
from aiohttp import BodyPartReader, hdrs, web
from aiohttp.test_utils import make_mocked_request

from tests.fakes.openai import FakeOpenAI, Request, refuse

End: TypeAlias = Literal["completed", "expired", "cancelled"]

MAX_METADATA, MAX_KEY, MAX_VALUE = 16, 64, 512

_LINE = {"custom_id", "method", "url", "body"}
_BATCH = {"input_file_id", "endpoint", "completion_window", "metadata"}
_RUNNING = ("validating", "in_progress", "finalizing")


@dataclass(slots=True)
class FakeFile:
    """A file as it is stored."""

    id: str
    name: str
    purpose: str
    content: bytes


@dataclass(slots=True)
class FakeBatch:
    """A batch, and how far it has come.

    Attributes:
        ends: what it will be in the end.
        answers: how many lines are worked on before it ends so; `None` is all.
    """

    id: str
    input_file: str
    metadata: dict[str, str]
    created_at: int
    status: str = "validating"
    ends: End = "completed"
    answers: int | None = None
    output_file: str | None = None
    error_file: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    counts: dict[str, int] = field(
        default_factory=lambda: {"total": 0, "completed": 0, "failed": 0}
    )


class FakeBatchAPI(FakeOpenAI):
    """Takes files and batches beside single requests; a batch takes one step with every poll.

    Attributes:
        files: what is stored, by id.
        batches: every batch there ever was, by id, in the order of their creation.
        max_requests: most lines of a file.
        max_file_bytes: longest file.
        page: batches in one page of the list, whatever is asked for.
        is_held: whether batches stay under way.
        ends: what the next batches will be in the end.
        answers: how many lines of the next batches are worked on; `None` is all.
        validation_error: code with which the next batch fails its validation.
        line_faults: by text, status and body that its line is answered with.
        spoils_lines: by text, what stands in place of its line.
        worked_on: the texts of all lines that were worked on, in order.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files: dict[str, FakeFile] = {}
        self.batches: dict[str, FakeBatch] = {}
        self.max_requests, self.max_file_bytes = 50_000, 200_000_000
        self.page = 100
        self.is_held = False
        self.ends: End = "completed"
        self.answers: int | None = None
        self.validation_error: str | None = None
        self.line_faults: dict[str, tuple[int, dict[str, Any]]] = {}
        self.spoils_lines: dict[str, bytes] = {}
        self.worked_on: list[str] = []
        self._inputs: dict[str, bytes] = {}
        self._ids = itertools.count(1)

    def lines_of(self, batch: FakeBatch) -> list[dict[str, Any]]:
        """Read the lines of a batch's input, which stays readable here when it is deleted."""
        return [orjson.loads(line) for line in self._inputs[batch.id].splitlines()]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/v1/embeddings":
            return await super()._handle(request)
        endpoint = request.path.split("/")[2] if request.path.count("/") > 1 else ""
        if request.path.endswith("/content"):
            endpoint = "content"
        elif request.path.endswith("/cancel"):
            endpoint = "cancel"
        elif endpoint == "batches" and request.method == "POST":
            endpoint = "create"
        self.requests.append(Request(request.path, dict(request.headers), {}, []))
        return await self.show_or(request, endpoint, lambda: self._serve(request))

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get(hdrs.AUTHORIZATION) != f"Bearer {self.api_key}":
            return refuse(401, "Incorrect API key provided.", code="invalid_api_key")
        parts = request.path.removeprefix("/v1/").split("/")
        found = await (self._serve_files if parts[0] == "files" else self._serve_batches)(
            request, request.method, parts[1:]
        )
        return found or refuse(404, f"Invalid URL ({request.method} {request.path})")

    async def _serve_files(
        self, request: web.BaseRequest, method: str, path: list[str]
    ) -> web.Response | None:
        match method, path:
            case "POST", []:
                return await self._store(request)
            case "GET", [file_id, "content"]:
                return self._content(file_id)
            case "DELETE", [file_id]:
                return self._delete(file_id)
            case _:
                return None

    async def _serve_batches(
        self, request: web.BaseRequest, method: str, path: list[str]
    ) -> web.Response | None:
        match method, path:
            case "POST", []:
                return await self._create(request)
            case "GET", []:
                return self._list(request)
            case "GET", [batch_id]:
                return await self._read(batch_id)
            case "POST", [batch_id, "cancel"]:
                return self._cancel(batch_id)
            case _:
                return None

    # Files

    async def _store(self, request: web.BaseRequest) -> web.Response:
        fields: dict[str, bytes] = {}
        name = ""
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            assert isinstance(part, BodyPartReader)
            content = bytearray()
            while chunk := await part.read_chunk():  # unlike part.read() without a limit
                content += chunk
            fields[part.name or ""] = bytes(content)
            name = part.filename or name
        if set(fields) != {"file", "purpose"} or not name:
            return refuse(400, f"Unrecognized form: {sorted(fields)}")
        if fields["purpose"] != b"batch":
            return refuse(400, "Invalid value for 'purpose'.", param="purpose")
        if not name.endswith(".jsonl"):
            return refuse(400, "Invalid file format for Batch API. Must be .jsonl")
        if len(fields["file"]) > self.max_file_bytes:
            return refuse(400, "File is too large.")
        file = self._put(name, "batch", fields["file"])
        return _answer(
            {
                "id": file.id,
                "object": "file",
                "bytes": len(file.content),
                "created_at": int(time.time()),
                "filename": name,
                "purpose": "batch",
                "status": "processed",
            }
        )

    def _put(self, name: str, purpose: str, content: bytes) -> FakeFile:
        file = FakeFile(f"file-{next(self._ids)}", name, purpose, content)
        self.files[file.id] = file
        return file

    def _content(self, file_id: str) -> web.Response:
        if file_id not in self.files:
            return refuse(404, f"No such File object: {file_id}", param="id")
        headers = {hdrs.CONTENT_TYPE: "application/octet-stream"}
        return web.Response(body=self.files[file_id].content, headers=headers)

    def _delete(self, file_id: str) -> web.Response:
        if self.files.pop(file_id, None) is None:
            return refuse(404, f"No such File object: {file_id}", param="id")
        return _answer({"id": file_id, "object": "file", "deleted": True})

    # Batches

    async def _create(self, request: web.BaseRequest) -> web.Response:
        form: dict[str, Any] = orjson.loads(await request.content.read())
        if unknown := set(form) - _BATCH:
            return refuse(400, f"Unrecognized request argument supplied: {min(unknown)}")
        if form.get("endpoint") != "/v1/embeddings":
            return refuse(400, "Invalid value for 'endpoint'.", param="endpoint")
        if form.get("completion_window") != "24h":
            return refuse(400, "Invalid value for 'completion_window'.")
        metadata: Mapping[str, Any] = form.get("metadata") or {}
        if not _is_metadata(metadata):
            return refuse(400, "Invalid 'metadata'.", param="metadata")
        file = self.files.get(form.get("input_file_id", ""))
        if file is None or file.purpose != "batch":
            return refuse(400, "Invalid file id.", param="input_file_id")
        batch = FakeBatch(
            id=f"batch_{next(self._ids)}",
            input_file=file.id,
            metadata=dict(metadata),
            created_at=int(time.time()),
            ends=self.ends,
            answers=self.answers,
        )
        self.batches[batch.id] = batch
        self._inputs[batch.id] = file.content
        return _answer(_show(batch))

    def _list(self, request: web.BaseRequest) -> web.Response:
        limit = int(request.rel_url.query.get("limit", "20"))
        if not 1 <= limit <= 100:
            return refuse(400, "Invalid value for 'limit'.", param="limit")
        newest = list(self.batches.values())[::-1]
        after = request.rel_url.query.get("after")
        if after is not None:
            if after not in self.batches:
                return refuse(404, f"No batch found with id '{after}'.")
            newest = newest[[batch.id for batch in newest].index(after) + 1 :]
        data = newest[: min(limit, self.page)]
        return _answer(
            {
                "object": "list",
                "data": [_show(batch) for batch in data],
                "first_id": data[0].id if data else None,
                "last_id": data[-1].id if data else None,
                "has_more": len(newest) > len(data),
            }
        )

    async def _read(self, batch_id: str) -> web.Response:
        batch = self.batches.get(batch_id)
        if batch is None:
            return refuse(404, f"No batch found with id '{batch_id}'.")
        await self._step(batch)
        return _answer(_show(batch))

    def _cancel(self, batch_id: str) -> web.Response:
        batch = self.batches.get(batch_id)
        if batch is None:
            return refuse(404, f"No batch found with id '{batch_id}'.")
        if batch.status not in _RUNNING:
            return refuse(409, f"Cannot cancel a batch with status '{batch.status}'.")
        batch.status, batch.ends = "cancelling", "cancelled"
        return _answer(_show(batch))

    async def _step(self, batch: FakeBatch) -> None:
        match batch.status:
            case "validating":
                batch.errors = self._faults_of(self._inputs[batch.id])
                batch.status = "failed" if batch.errors else "in_progress"
            case "in_progress" if not self.is_held:
                batch.status = "finalizing"
            case "finalizing" | "cancelling":
                await self._work(batch)
                batch.status = batch.ends
            case _:
                pass

    def _faults_of(self, content: bytes) -> list[dict[str, Any]]:
        """Validate a file as OpenAI does before it begins with a batch."""
        if self.validation_error is not None:
            code, self.validation_error = self.validation_error, None
            return [_fault(code, "made to fail", None)]
        lines = content.splitlines()
        if not lines:
            return [_fault("empty_file", "The file is empty.", None)]
        if len(lines) > self.max_requests:
            return [_fault("too_many_tasks", "The batch has too many requests.", None)]
        faults: list[dict[str, Any]] = []
        entries: list[dict[str, Any]] = []
        for number, line in enumerate(lines, 1):
            try:
                entry: Any = orjson.loads(line)
                if set(entry) != _LINE or not isinstance(entry["custom_id"], str):
                    faults.append(_fault("invalid_request", "It has other properties.", number))
                elif entry["method"] != "POST" or entry["url"] != "/v1/embeddings":
                    faults.append(_fault("mismatched_url", "The URL is another one.", number))
                else:
                    entries.append(entry)
            except (orjson.JSONDecodeError, TypeError):
                faults.append(_fault("invalid_json_line", "This line is not valid JSON.", number))
        if len({entry["custom_id"] for entry in entries}) < len(entries):
            faults.append(_fault("duplicate_custom_id", "A custom_id is used twice.", None))
        if len({entry["body"]["model"] for entry in entries}) > 1:
            faults.append(_fault("mismatched_model", "All requests must name one model.", None))
        return faults

    async def _work(self, batch: FakeBatch) -> None:
        entries = self.lines_of(batch)
        worked = entries if batch.answers is None else entries[: batch.answers]
        output: list[bytes] = []
        errors: list[bytes] = []
        for entry in worked:
            text: str = entry["body"]["input"]
            self.worked_on.append(text)
            status, body = await self._answer_line(entry["body"])
            response = {"status_code": status, "request_id": f"req_{next(self._ids)}", "body": body}
            line = self.spoils_lines.get(text) or self._line(entry, response, None)
            (output if status == 200 else errors).append(line)
        code = "batch_cancelled" if batch.ends == "cancelled" else "batch_expired"
        said = {"code": code, "message": "This request could not be executed in time."}
        errors += [self._line(entry, None, said) for entry in entries[len(worked) :]]
        if self.shuffles:
            self._random.shuffle(output)
            self._random.shuffle(errors)
        if output:
            batch.output_file = self._put("output.jsonl", "batch_output", _join(output)).id
        if errors:
            batch.error_file = self._put("errors.jsonl", "batch_output", _join(errors)).id
        failed = len(worked) - len(output)
        batch.counts = {"total": len(entries), "completed": len(output), "failed": failed}

    def _line(
        self,
        entry: Mapping[str, Any],
        response: Mapping[str, Any] | None,
        error: Mapping[str, Any] | None,
    ) -> bytes:
        return orjson.dumps(
            {
                "id": f"batch_req_{next(self._ids)}",
                "custom_id": entry["custom_id"],
                "response": response,
                "error": error,
            }
        )

    async def _answer_line(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer one line as the endpoint itself would."""
        fault = self.line_faults.get(body["input"])
        if fault is not None:
            return fault
        headers = {hdrs.CONTENT_TYPE: "application/json"}
        headers[hdrs.AUTHORIZATION] = f"Bearer {self.api_key}"
        single = make_mocked_request("POST", "/v1/embeddings", headers)
        response = await self._answer(single, body)
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        return response.status, orjson.loads(response.body)


def _fault(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": None}


def _is_metadata(metadata: Mapping[str, Any]) -> bool:
    return len(metadata) <= MAX_METADATA and all(
        len(key) <= MAX_KEY and isinstance(value, str) and len(value) <= MAX_VALUE
        for key, value in metadata.items()
    )


def _join(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _show(batch: FakeBatch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/embeddings",
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": batch.created_at,
        "expires_at": batch.created_at + 86_400,
        "request_counts": batch.counts,
        "metadata": batch.metadata or None,
    }


def _answer(body: Mapping[str, Any]) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    return web.Response(body=orjson.dumps(body), headers=headers)


@asynccontextmanager
async def serve_fake_batches(**options: Any) -> AsyncGenerator[FakeBatchAPI]:
    """Serve a fake OpenAI API with batches; its root is `url`."""
    fake = FakeBatchAPI(**options)
    await fake.start()
    try:
        yield fake
    finally:
        await fake.stop()
