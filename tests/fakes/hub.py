"""A model hub on the loopback interface, as far as `huggingface_hub` downloads need one."""

import hashlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """A hub with one revision of each repository.

    Attributes:
        endpoint: its address.
        repositories: files by name, by repository.
        downloaded: paths of the files whose content was sent.
        understated: whether every file is listed with one byte.
        gated: tokens that open a repository; without an entry it is open.
        seen_tokens: what requests brought in `Authorization`, "" for nothing.
    """

    endpoint: str
    repositories: dict[str, Mapping[str, bytes]] = field(
        default_factory=dict[str, Mapping[str, bytes]]
    )
    downloaded: list[str] = field(default_factory=list[str])
    understated: bool = False
    gated: dict[str, str] = field(default_factory=dict[str, str])
    seen_tokens: set[str] = field(default_factory=set[str])

    def opens(self, repository: str, token: str) -> bool:
        """Return whether a token opens a repository."""
        return self.gated.get(repository) in (None, token)


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.answer(with_content=True)

    def answer(self, *, with_content: bool) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        self.hub.seen_tokens.add(token)
        named = parts[2:4] if parts[0] == "api" else parts[:2]
        if not self.hub.opens("/".join(named), token):
            self.send(401 if not token else 403, b"{}", {"X-Error-Code": "GatedRepo"})
            return
        match parts:
            case ["api", "models", organisation, name, "revision", _]:
                self.describe(f"{organisation}/{name}")
            case ["api", "models", organisation, name, "tree", *_]:
                self.list_files(f"{organisation}/{name}")
            case [organisation, name, "resolve", _, *path]:
                self.send_file(f"{organisation}/{name}", "/".join(path), with_content)
            case [""]:
                self.send(200, b"")
            case _:
                self.send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def describe(self, repository: str) -> None:
        files = self.hub.repositories.get(repository)
        if files is None:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [{"rfilename": path} for path in files]
        self.send_json({"id": repository, "sha": COMMIT, "siblings": siblings})

    def list_files(self, repository: str) -> None:
        files = self.hub.repositories.get(repository)
        if files is None:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        self.send_json(
            [
                {
                    "type": "file",
                    "path": path,
                    "size": 1 if self.hub.understated else len(content),
                    "oid": hashlib.sha1(content).hexdigest(),
                }
                for path, content in files.items()
            ]
        )

    def send_file(self, repository: str, path: str, with_content: bool) -> None:
        content = self.hub.repositories[repository].get(path)
        if content is None:
            self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if with_content:
            self.hub.downloaded.append(path)
        tag = hashlib.sha1(content).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
        self.send(200, content, headers)

    def send_json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        del format, args


@contextmanager
def running_hub() -> Generator[FakeHub]:
    """Run a hub that has nothing yet."""
    hub = FakeHub("")
    handler = type("HandlerOfThisHub", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
