"""Starts and stops nx-27017, a server that speaks MongoDB's wire protocol over SQLite files."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = "nx-27017"
INSTALLED = Path(__file__).parents[2] / ".services" / "nx" / "bin" / PROGRAM

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10


def find_nx() -> Path | None:
    """Find the server's program on the path or where `install_nx.sh` puts it."""
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        return Path(on_path)
    return INSTALLED if INSTALLED.is_file() else None


@contextmanager
def running_nx(program: Path) -> Generator[str]:
    """Run a server with an empty data directory on a free port, and give its `mongodb://` URI.

    Raises:
        RuntimeError: it ended, or did not listen in time; with what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="nx-") as home:
        port = free_port()
        output = Path(home) / "output"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [
                    str(program),
                    *("--host", "127.0.0.1", "--port", str(port)),
                    *("--data-dir", f"{home}/data"),
                    *("--log-file", f"{home}/log", "--pid-file", f"{home}/pid"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=home,
            )
        try:
            _wait_until_it_listens(process, port, output)
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            _stop(process)


def free_port() -> int:
    """Find a TCP port on the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{PROGRAM} does not listen: {output.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
