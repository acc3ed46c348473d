"""The `aletheia` command, to be run from the checkout."""

from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from deployments import ledger_commands, webhook_command
from deployments.environment import (
    choose_server,
    local_servers,
    read_environment,
)
from deployments.explaining import console, explained, on_server, say
from deployments.steps import Steps

# Commands import what needs Prefect themselves: that takes a second, and Prefect reads its
# settings once, when it is imported, which must be after `choose_server`.
# ruff: noqa: PLC0415 - slow to import

app = typer.Typer(
    help="Set up, check, run and watch Aletheia.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
ProjectArgument = Annotated[str, typer.Argument(help="Letters, digits, _ and -; at most 48.")]


@app.command("setup")
def set_up_server() -> None:
    """Save blocks from the environment and .env, create work pools, deploy the flows."""
    import asyncio

    with explained():
        choose_server(local_servers())
        from deployments.configuration import find_faults
        from deployments.setup import build_blocks, set_up

        if faults := find_faults():
            raise faults[0]
        done = asyncio.run(set_up(build_blocks(read_environment())))
    table = Table("what", "", box=None, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("", overflow="fold")
    colours = {"created": "green", "updated": "yellow", "unchanged": "dim"}
    for it in done:
        colour = colours[it.outcome]
        table.add_row(it.kind, it.name, f"[{colour}]{it.outcome}[/]", f"[dim]{it.detail}[/]")
    console.print(table)


@app.command()
def doctor(
    as_json: JsonOption = False,
    skip_run: Annotated[bool, typer.Option(help="Do not try a run, which takes longest.")] = False,
) -> None:
    """Check a set-up end to end, and say what to do about each failure."""
    with explained():
        choose_server(local_servers())
        from deployments.doctor.examine import examine
        from deployments.doctor.results import show

        results = examine(None if as_json else console, skip_run=skip_run)
    show(results, console, as_json=as_json)
    raise typer.Exit(any(result.state == "failed" for result in results))


@app.command()
def status(
    as_json: JsonOption = False,
) -> None:
    """Show queue, leases, dead letters, breakers, limits, budgets, and what waits for the Brain."""
    with on_server():
        from deployments.intake import read_status, show_status

        show_status(read_status(), console, as_json=as_json)


intake_app = typer.Typer(help="Pause or resume intake as a whole.", no_args_is_help=True)
app.add_typer(intake_app, name="intake")


@intake_app.command()
def pause() -> None:
    """Claim nothing more; claims in hand are finished, and every shift obeys within one tick."""
    with on_server():
        from deployments.intake import set_paused

        set_paused(is_paused=True)
    say("Intake is paused. Shifts claim nothing until `aletheia intake resume`.")


@intake_app.command()
def resume() -> None:
    """Allow shifts to claim tasks again."""
    with on_server():
        from deployments.intake import set_paused

        set_paused(is_paused=False)
    say("Intake is open.")


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Tasks; without any: all.")] = None,
    code: Annotated[str | None, typer.Option(help="Only dead letters with this code.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number.")] = 1000,
) -> None:
    """Send dead letters through once more."""
    with on_server():
        from deployments.intake import replay as send_again

        tally = send_again(ids, code, limit).tally
    others = tally.dead + tally.conflicts + tally.waiting + tally.deferred_reports
    if not (tally.succeeded + tally.failed + tally.refused_replays + others):
        say("There is no such dead letter." if ids or code else "There are no dead letters.")
        return
    say(
        f"{tally.succeeded} succeeded, {tally.failed} failed again, "
        f"{tally.refused_replays} were not taken back."
    )


class ProjectOrCommand(TyperGroup):
    """A group that passes a first word which names no command to `start`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `start` before arguments that name no command and ask for no help."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["start", *args]
        return super().parse_args(ctx, args)


gather_app = typer.Typer(
    cls=ProjectOrCommand,
    help="Fill the departments of a project with items: `gather PROJECT`, short for `gather start "
    "PROJECT`, starts a run and follows it.",
    no_args_is_help=True,
    subcommand_metavar="PROJECT | COMMAND [ARGS]...",
)
app.add_typer(gather_app, name="gather")


@gather_app.command("start")
def start_gather(
    project: ProjectArgument,
    user: Annotated[str, typer.Option(help="Whose items they will be.")] = "operator",
    max_iterations: Annotated[int, typer.Option(min=1, help="Of the whole run.")] = 50,
    evaluate: Annotated[
        bool, typer.Option(help="Evaluate departments that reach their threshold.")
    ] = True,
    webhook: Annotated[str | None, typer.Option(help="Where its events go too.")] = None,
) -> None:
    """Start a run, and follow it to its end; also for a project that is named like a command."""
    with on_server():
        from deployments.gather import gather

        is_complete = gather(
            project,
            user,
            console,
            max_iterations=max_iterations,
            is_evaluated=evaluate,
            webhook_url=webhook,
        )
    raise typer.Exit(not is_complete)


@gather_app.command("resume")
def resume_gather(
    run: Annotated[str, typer.Argument(help="Id of the flow run.")],
    max_iterations: Annotated[
        int | None, typer.Option(min=1, help="Of the whole run, those that are done included.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="DEPARTMENT=X", help="Quality at which a department is done; 0..100."),
    ] = None,
) -> None:
    """Resume a run that is suspended, failed or lost its process; change its bounds."""
    with on_server():
        from deployments.gather import read_thresholds, resume

        said = resume(run, max_iterations, read_thresholds(threshold or []), Console(stderr=True))
    say(said)


@gather_app.command("duplicates")
def list_duplicates(
    project: ProjectArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List what was dropped as a duplicate of what, newest first, with ids to undo it by."""
    with on_server():
        from deployments.decisions import read_duplicates, show_duplicates

        dropped, matches = read_duplicates(project, limit)
    show_duplicates(dropped, matches, console, as_json=as_json)


@gather_app.command("undo")
def undo_duplicate(
    project: ProjectArgument,
    decision: Annotated[str, typer.Argument(help="From `gather duplicates` or a run's table.")],
    user: Annotated[str, typer.Option(help="Who undoes it.")] = "operator",
) -> None:
    """Save an item that was dropped as a duplicate; the two are distinct from now on."""
    with on_server():
        from deployments.decisions import undo

        said = undo(project, decision, user, Console(stderr=True))
    say(said)


@app.command()
def evaluate(
    project: ProjectArgument,
    number: Annotated[
        int | None, typer.Argument(help="codeDepNumber of the department, if it has one.")
    ] = None,
    department: Annotated[
        str | None, typer.Option(help="Its slug, where the number does not tell.")
    ] = None,
    *,
    user: Annotated[str, typer.Option(help="Who asks.")] = "operator",
    force: Annotated[bool, typer.Option("--force", help="Again, if it was evaluated.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a department as it is now, wait for the result and print it."""
    with on_server():
        from deployments.evaluation import evaluate as start
        from deployments.evaluation import show

        report = start(
            project,
            number,
            user,
            Console(stderr=True, highlight=False),
            department=department,
            is_forced=force,
        )
    show(report, console, as_json=as_json)


@app.command()
def reconcile(
    project: Annotated[
        str | None, typer.Argument(help="Without one: all that had a gather run.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the Brain with what is saved and repair it; wait, and print what differed."""
    with on_server():
        from deployments.reconcile import reconcile as start
        from deployments.reconcile import show

        end = start(project, Console(stderr=True, highlight=False))
    show(end, console, as_json=as_json)
    raise typer.Exit(not end.is_completed)


@app.command()
def models(
    action: Annotated[
        Literal["list", "pull", "load", "unload"], typer.Argument(help="What to do.")
    ] = "list",
    model: Annotated[str | None, typer.Argument(help="With which model.")] = None,
    provider: Annotated[
        Literal["local", "ollama"] | None,
        typer.Option(help="Whose models; by default those of PROCESSING_MODE."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models that tasks may name, or pull, load or unload one."""
    with on_server():
        from deployments.models import act_on_model, read_models, show_models

        if action == "list":
            rows = read_models(provider)
        else:
            rows = act_on_model(action, model, provider, Console(stderr=True))
    show_models(rows, console, as_json=as_json)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="By default METRICS_PORT.")
    ] = None,
) -> None:
    """Serve the Brain to other programs, until SIGTERM or Ctrl-C."""
    with on_server():
        from aletheia.settings import ServiceSettings
        from deployments.serve import serve as serve_until_ended

        serve_until_ended(host, port or ServiceSettings().metrics_port)


@app.command()
def up() -> None:
    """Start a Prefect server, a worker and the deployments on this machine; leave them running."""
    with explained():
        from deployments.up import up as start_everything

        start_everything(Steps(console))


@app.command()
def down() -> None:
    """End everything that `up` or `demo --keep` left running."""
    with explained():
        from deployments.up import down as end_everything

        end_everything(Steps(console))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option(help="Leave everything running at the end.")] = False,
    tasks: Annotated[int, typer.Option(min=10, max=5000, help="Good tasks.")] = 300,
) -> None:
    """Poll, embed and report tasks of an example upstream, gather items; show what happened."""
    with explained():
        from deployments.demo.run import run_demo

        is_as_expected = run_demo(Steps(console), tasks=tasks, keep=keep)
    raise typer.Exit(not is_as_expected)


ledger_commands.register(app, console, on_server)
webhook_command.register(app, console, on_server)


def main() -> None:
    """Run the command."""
    app(prog_name="aletheia")


if __name__ == "__main__":
    main()
