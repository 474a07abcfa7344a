"""The terminal: answers on stdout; errors, warnings and progress on stderr."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table

PATIENCE = 1.0
"""Seconds of work after which progress is shown."""

LINE = 100
"""Columns of a line of text, at most."""

PIPE_WIDTH = 160
"""Columns where stdout is no terminal: tables stay one line a row for those who filter them."""


class Screen:
    """Prints; file names and messages are never taken for markup."""

    def __init__(self) -> None:
        self.out, self.err = _console(stderr=False), _console(stderr=True)
        self._began = time.monotonic()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line; long ones are wrapped by the terminal, so that paths can be copied."""
        self.clear()
        self.out.print(Text(text, style), soft_wrap=True)

    def paragraph(self, text: str, indent: int = 0) -> None:
        """Print text in lines of a comfortable length."""
        width = max(20, min(self.out.width, LINE) - indent)
        for line in textwrap.wrap(text, width):
            self.line(" " * indent + line)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Mapping[str, str]],
        *,
        right: Sequence[str] = (),
        indent: int = 0,
        bold: int | None = None,
    ) -> None:
        """Print rows as a table; right: columns set flush right; bold: the row to stand out."""
        self.clear()
        table = _table()
        for name in columns:
            table.add_column(name, justify="right" if name in right else "left", overflow="fold")
        for number, row in enumerate(rows):
            table.add_row(*(row[name] for name in columns), style="bold" if number == bold else "")
        self.out.print(Padding(table, (0, 0, 0, indent), expand=False))

    def raw(self, text: str) -> None:
        """Write text as it is."""
        self.clear()
        sys.stdout.write(text)
        sys.stdout.flush()

    def error(self, text: str, kind: str = "error") -> None:
        """Print one line on stderr, after the word that says what it is."""
        line = Text(f"{kind}: ", "bold red" if kind == "error" else "yellow")
        self.aside(line.append(" ".join(each.strip() for each in text.splitlines()), "not bold"))

    def aside(self, text: str | Text) -> None:
        """Print a line on stderr."""
        self.clear()
        self.err.print(Text(text) if isinstance(text, str) else text, soft_wrap=True)

    def progress(self, done: int, total: int, what: str) -> None:
        """Show progress on a terminal once the work takes long; a `seewhy.run.Progress`.

        what: a name, after a comma followed by how it stands.
        """
        if not sys.stderr.isatty() or time.monotonic() - self._began < PATIENCE:
            return
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(
                *columns,
                console=self.err,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
        name = what.partition(",")[0]
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name)
        self._bar.update(self._tasks[name], completed=done, total=total, description=what)

    def clear(self) -> None:
        """Take the progress off the screen; it comes back with the next step."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._tasks = None, {}


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave a closed pipe to whoever runs the command."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    plain: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
    console = _Console(stderr=stderr, **plain)
    if not stream.isatty() and "COLUMNS" not in console._environ:  # noqa: SLF001
        console.width = PIPE_WIDTH
    return console


def _table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
