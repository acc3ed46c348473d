"""A Prefect server, a worker and an example upstream, as `aletheia up` starts them."""

import io
from collections.abc import Generator
from pathlib import Path

import pytest
from rich.console import Console

from deployments.local import Local
from deployments.steps import Steps
from deployments.up import start_servers
from tests.deployments.impostor import signing_in


@pytest.fixture
def local(tmp_path: Path) -> Generator[Local]:
    """Local servers of one test, none of them started."""
    local = Local(tmp_path / "local")
    yield local
    local.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Local]:
    """Local servers that the tests share; with a Prefect server."""
    local = Local(tmp_path_factory.mktemp("shared"))
    try:
        local.start_server()
        yield local
    finally:
        local.stop()


@pytest.fixture
def server(shared: Local) -> Generator[str]:
    """The Prefect server that this process means for one test; its address."""
    program = shared.running("server")
    assert program is not None
    with signing_in(f"{program.url}/api", shared.password_file.read_text().strip()):
        yield f"{program.url}"


@pytest.fixture(scope="session")
def everything(shared: Local) -> Local:
    """All servers, set up, with nothing scheduled."""
    steps = Steps(Console(file=io.StringIO()))
    variables = {"ALETHEIA_DATA_DIR": str(shared.directory), "MONGODB_URI": ""}
    start_servers(shared, steps, variables, is_scheduled=False)
    return shared
