"""Commands for whoever writes processors: try one, or begin a package with one."""

import sys
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, cast

import orjson
import typer

from aletheia.analysis.processor import Finished
from aletheia.analysis.registry import Processors
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask
from aletheia.escaping import escape_json
from deployments.explaining import say
from deployments.processor_package import write_package
from deployments.runs import in_session
from tasks.clients.processors import get_processors

app = typer.Typer()


@app.command("try")
@in_session
async def try_type(
    task_type: Annotated[str, typer.Argument(help="The task type.")],
    task_input: Annotated[str, typer.Argument(metavar="JSON", help="The input; `-` reads it.")],
) -> None:
    """Run one input through a processor and print its result; nothing is claimed or reported.

    Models that it asks are paid for, within the budgets of the day.
    """
    text = sys.stdin.read() if task_input == "-" else task_input
    finished = await run_once(await get_processors(), task_type, read_json(text))
    shown = {"result": finished.result, "usage": finished.usage, "record": finished.record}
    say(write_json({name: value for name, value in shown.items() if value}))


@app.command()
def new_processor(
    name: Annotated[str, typer.Argument(help="Of the package; its type is called likewise.")],
    directory: Annotated[Path, typer.Option(help="Where the package is written.")] = Path(),
) -> None:
    """Write a package with a task type of your own, to start from."""
    for file in write_package(name, directory):
        say(str(file))
    say(f"Install it with `pip install -e {directory / name}`, where shifts and workers run.")


def read_json(text: str) -> Mapping[str, Any]:
    """Read an input. Raises `InvalidTask`: `invalid_input`."""
    try:
        found: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidTask("invalid_input", f"the input is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidTask("invalid_input", "the input is not a JSON object")
    return cast("dict[str, Any]", found)


def write_json(value: object) -> str:
    """Write a value as JSON, vectors among it."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2
    return escape_json(orjson.dumps(value, option=options).decode())


async def run_once(
    processors: Processors, task_type: str, task_input: Mapping[str, Any]
) -> Finished:
    """Compute one input, as a shift or a worker would.

    Raises:
        AletheiaError: what the task would be reported as failed with, or would wait for.
    """
    task_type = task_type.strip().lower()
    group = processors.admit(task_type, task_input)
    if await processors.capacity(task_type, group, [task_input]) < 1:
        raise ComputeFailed("no_capacity", "it cannot be computed now")
    async with aclosing(processors.process(task_type, group, [task_input])) as answers:
        async for finished in answers:
            for answer in finished:
                if isinstance(answer.error, AletheiaError):
                    raise answer.error
                return answer
    raise ComputeFailed("no_result", "the processor gave no result")
