"""`aletheia reconcile`, with somebody in a worker's place."""

import json
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.states import Crashed

from flows.reconcile import reconcile
from tests.flows.command_line import command, deployed, next_run, work
from tests.flows.test_gather import Backend, backend
from tests.flows.test_reconcile import lose_the_brain, use_embedded

__all__ = ["backend"]


async def test_what_differed_is_printed_and_it_is_a_failure_if_it_could_not_be_mended(
    backend: Backend, tmp_path: Path
):
    await lose_the_brain()
    report = await backend.gather(max_iterations=2)
    async with deployed("reconcile") as deployment:
        waiting = command("reconcile", "shop")
        run = await next_run(deployment, 1)
        assert run.parameters == {"project_id": "shop"}
        await work(reconcile, run)
        result = await waiting
        assert result.exit_code == 1, result.output
        assert f"Run {run.id} is failed" in result.stdout
        assert "brain is unavailable" in result.stdout

        await use_embedded(tmp_path)
        await backend.documents.delete("aletheia_breakers", {})
        waiting = command("reconcile")
        run = await next_run(deployment, 2)
        assert run.parameters == {"project_id": None}
        await work(reconcile, run)
        result = await waiting
        assert result.exit_code == 0, result.output
        said = f"{report.items_created} differences between the Brain and the store were found"
        assert result.stdout.startswith(said)
        lines = [line.split() for line in result.stdout.splitlines()]
        assert ["shop", "missing", str(report.items_created), "0"] in [line[:4] for line in lines]

        waiting = command("reconcile", "shop", "--json")
        run = await next_run(deployment, 3)
        await work(reconcile, run)
        end = json.loads((await waiting).stdout)
        assert (end["run_id"], end["state"]) == (str(run.id), "completed")
        assert [row["what"] for row in end["rows"]] == ["nothing differs"]


async def test_a_run_that_comes_to_no_table_is_a_failure(backend: Backend):
    del backend
    async with deployed("reconcile") as deployment:
        waiting = command("reconcile", "shop")
        run = await next_run(deployment, 1)
        async with get_client() as client:
            killed = Crashed(message="it was killed")
            await client.set_flow_run_state(run.id, killed, force=True)
        result = await waiting
    assert result.exit_code == 1
    assert f"Run {run.id} is crashed: it was killed" in result.stdout


async def test_what_cannot_be_started_is_said(backend: Backend):
    del backend
    result = await command("reconcile", "shop")
    assert (result.exit_code, "run `aletheia setup`" in result.output) == (1, True)
    result = await command("reconcile", "not/one")
    assert (result.exit_code, "'not/one'" in result.output) == (1, True)
