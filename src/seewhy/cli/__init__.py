"""The command line: `seewhy explain`, `compare`, `evaluate`, `concepts`, `summary`, ...

Nothing heavy is imported before a command runs, so that help is there at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from seewhy.cli.activations import activations
from seewhy.cli.compare import compare
from seewhy.cli.concepts import concepts
from seewhy.cli.demo import app as demo
from seewhy.cli.evaluate import evaluate
from seewhy.cli.explain import explain
from seewhy.cli.find import find
from seewhy.cli.group import Commands
from seewhy.cli.methods import methods
from seewhy.cli.prototype import prototype
from seewhy.cli.summary import summary
from seewhy.cli.tcav import tcav

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    name="seewhy",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog=(
        "Begin with: [cyan]seewhy demo[/]\n\n"
        "Exit codes: 0 all went well; 1 something failed; 2 a wrong option, method, target or "
        "layer; 130 interrupted."
    ),
)
for _command in (
    explain,
    compare,
    evaluate,
    concepts,
    find,
    tcav,
    prototype,
    activations,
    summary,
    methods,
):
    app.command(epilog=getattr(_command, "examples", None))(_command)
app.add_typer(demo, name="demo")


def _version(asked: bool) -> None:
    if asked:
        from seewhy import __version__

        typer.echo(f"seewhy {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which version."),
    ] = False,
    debug: Annotated[  # noqa: ARG001 - the group reads it
        bool, typer.Option("--debug", help="Show tracebacks and every warning.")
    ] = False,
) -> None:
    """Say why a vision model decided as it did, and whether that can be trusted."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line with the arguments of this process."""
    app(prog_name="seewhy")
