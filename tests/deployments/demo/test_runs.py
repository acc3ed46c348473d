"""What the demo says about runs."""

from pathlib import Path
from typing import Any

from deployments.demo.runs import show_links
from deployments.local import Local, Program
from deployments.local_runs import ServerApi
from tests.deployments.printing import printed


class KnownArtifacts(ServerApi):
    """A server of which only the artifacts of a run are known."""

    def read_list(self, path: str, body: object) -> list[dict[str, Any]]:
        assert path == "/artifacts/filter"
        assert "run-1" in str(body)
        return [
            {"id": "a1", "key": "gather-duplicates", "type": "table"},
            {"id": "a2", "key": None, "type": "progress"},
            {"id": "a3", "key": None, "type": None},
        ]


class KnownServer(Local):
    """Local servers of which only a Prefect server is known."""

    def running(self, name: Any) -> Program:
        return Program(name, 1, "http://127.0.0.1:4200")

    @property
    def api(self) -> ServerApi:
        return KnownArtifacts(None)


def test_links_lead_to_the_run_and_to_its_artifacts_that_have_a_name(tmp_path: Path):
    text = printed(lambda: show_links(KnownServer(tmp_path), "run-1", "The gather"))
    assert text.splitlines()[2:] == [
        "  run                http://127.0.0.1:4200/runs/flow-run/run-1",
        "  gather-duplicates  http://127.0.0.1:4200/artifacts/artifact/a1",
        "  progress           http://127.0.0.1:4200/artifacts/artifact/a2",
    ]
