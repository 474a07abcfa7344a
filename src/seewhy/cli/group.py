"""What surrounds every command: errors in a line, warnings in a line, exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from seewhy.cli.screen import Screen
from seewhy.errors import LayerError, MethodError, SeewhyError, SeewhyWarning, TargetError

FAILED, USAGE, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141

WRONG_OPTION = (MethodError, TargetError, LayerError)
"""Errors that another option avoids."""


class Commands(TyperGroup):
    """The commands; what goes wrong in them ends in one line and an exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and leave the process with the exit code."""
        extra["standalone_mode"] = False  # errors are shown here, in a line
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a name that cannot be shown is no failure
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **extra)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            screen = Screen()
            screen.error(error.format_message().replace("Value error, ", ""))
            context = getattr(error, "ctx", None)
            screen.aside(f"try '{context.command_path if context else 'seewhy'} --help'")
            code = USAGE
        sys.exit(code or 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        screen = ctx.obj = Screen()
        debug = bool(ctx.params.get("debug"))
        try:
            with _warnings_in_a_line(screen, everything=debug):
                found = super().invoke(ctx)
                screen.clear()
                sys.stdout.flush()
                return found
        except BrokenPipeError:
            _close_stdout()
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt:
            screen.aside("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if hasattr(error, "format_message"):  # a usage error, shown by `main`
                raise
            screen.clear()
            if debug:
                traceback.print_exc()
            known = isinstance(error, SeewhyError)
            screen.error(str(error) if known else f"{type(error).__name__}: {error}")
            for note in getattr(error, "__notes__", ()):
                screen.aside(f"  {note}")
            if not known and not debug:
                screen.aside("this was not foreseen: `seewhy --debug ...` shows where it came from")
            raise typer.Exit(USAGE if isinstance(error, WRONG_OPTION) else FAILED) from error


@contextlib.contextmanager
def _warnings_in_a_line(screen: Screen, *, everything: bool) -> Iterator[None]:
    """Show seewhy's warnings once each; those of other packages only where all are wanted."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = str(message)
        if (everything or issubclass(category, SeewhyWarning)) and text not in said:
            said.add(text)
            screen.error(text, "warning")

    with warnings.catch_warnings():
        warnings.simplefilter("always" if everything else "ignore")
        warnings.simplefilter("always", SeewhyWarning)
        warnings.showwarning = show
        yield


def _close_stdout() -> None:
    """Let what is still in stdout's buffer go nowhere, so that the end of the process is quiet."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
