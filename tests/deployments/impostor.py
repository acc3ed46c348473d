"""What answers on a port as a Prefect server in good health would, and is none.

python -m tests.deployments.impostor PORT
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

HOST = "127.0.0.1"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue"


class Impostor(StreamRequestHandler):
    """Answers `true` to everything, and notes what it is sent."""

    seen: list[bytes]

    def handle(self) -> None:
        """Answer one request."""
        while (line := self.rfile.readline()).strip():
            self.seen.append(line)
        self.wfile.write(ANSWER)


@contextmanager
def impersonating(port: int = 0) -> Generator[tuple[int, list[bytes]]]:
    """Answer on a port for a while; yields it, and what was sent there."""
    seen: list[bytes] = []
    handler = type("Noting", (Impostor,), {"seen": seen})
    with ThreadingTCPServer((HOST, port), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def signing_in(url: str, sign_in: str) -> Generator[None]:
    """Mean a Prefect server in this process, with a user and password."""
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: sign_in}):
        yield


if __name__ == "__main__":
    with impersonating(int(sys.argv[1])):
        sys.stdin.read()
