"""The `aletheia` command, to be run from the checkout."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from deployments.environment import choose_server, local_servers
from deployments.explaining import explained

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "setup": ("setup", "Save blocks from the environment, create work pools, deploy the flows."),
    "doctor": ("doctor.examine", "Check a set-up end to end, and say what to do about failures."),
    "status": ("intake", "Show queue, leases, dead letters, breakers, limits, budgets."),
    "intake": ("intake", "Pause or resume intake as a whole."),
    "replay": ("intake", "Send dead letters through once more."),
    "gather": ("gather", "Fill the departments of a project with items."),
    "evaluate": ("evaluation", "Evaluate a department as it is now."),
    "reconcile": ("reconcile", "Compare the Brain with what is saved and repair it."),
    "models": ("models", "List the models that tasks may name; pull, load or unload one."),
    "report": ("report", "Write a digest of some days: throughput, cost, trends, what was done."),
    "serve": ("serve", "Serve the Brain, reads, actions, live events and webhooks."),
    "token": ("dev_tokens", "Print a short-lived token for the service; for development."),
    "up": ("up", "Start a Prefect server, a worker and the deployments on this machine."),
    "down": ("up", "End everything that `up` or `demo --keep` left running."),
    "demo": ("demo.run", "Work off tasks of an example upstream, gather items; show the results."),
    "dead-letters": ("intake", "List tasks that failed for good."),
    "workers": ("workers", "List who computes tasks, and what each one does."),
    "try": ("processors", "Run one input through a processor; nothing is reported."),
    "new-processor": ("processors", "Write a package with a task type of your own."),
    "trace": ("intake", "Show what the ledger knows of one task."),
    "audit": ("audit", "List what people did: when, who, from where, what."),
    "webhooks": ("dead_events", "List events that receivers did not get, or send them again."),
}
"""Each command, the module that has it, and what it does in a few words."""

LOCAL: Final = frozenset({"up", "down", "demo"})
"""Commands that start and end servers; the others mean the one that is configured or runs here."""


class LazyCommand(TyperCommand):
    """A command whose module is imported when it is called.

    To import Prefect takes a second, and it reads its settings then: after `choose_server`.
    """

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Load the command itself, and let it read its arguments."""
        name = str(self.name)
        if name not in LOCAL:
            choose_server(local_servers())
        module = import_module(f"deployments.{COMMANDS[name][0]}")
        command = get_group(module.app).commands[name]
        return command.make_context(info_name, args, parent, **extra)


class CommandLine(TyperGroup):
    """All commands; errors that they raise are explained."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, (_, words) in COMMANDS.items():
            self.commands[name] = LazyCommand(name, help=words)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named."""
        with explained():
            return super().invoke(ctx)


app = typer.Typer(
    cls=CommandLine, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def aletheia() -> None:
    """Set up, check, run and watch Aletheia."""


def main() -> None:
    """Run the command."""
    app(prog_name="aletheia")


if __name__ == "__main__":
    main()
