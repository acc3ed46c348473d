"""`aletheia report` prints a digest, or writes it into files."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from aletheia.adapters.documents.embedded import EmbeddedDocuments
from blocks import StoreCredentials
from deployments import report as command
from tests.flows.conftest import prefect_server

__all__ = ["prefect_server"]


@pytest.fixture
async def store(prefect_server: None, tmp_path: Path) -> None:  # noqa: ARG001 - it only has to be there
    await StoreCredentials(data_dir=tmp_path).asave("default", overwrite=True)
    documents = EmbeddedDocuments(tmp_path)
    await documents.open()
    await documents.close()


@pytest.mark.usefixtures("store")
def test_a_digest_is_written_as_markdown_and_html(tmp_path: Path):
    page, text = tmp_path / "week.html", tmp_path / "week.md"
    ran = CliRunner().invoke(
        command.app, ["--days", "7", "--html", str(page), "--markdown", str(text)]
    )
    assert ran.exit_code == 0, ran.output
    assert text.read_text().startswith("# Digest, ")
    assert page.read_text().startswith("<!doctype html>")
