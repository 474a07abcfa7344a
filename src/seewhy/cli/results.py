"""What commands with a result share: the model they ask, where they save, what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from seewhy.cli.group import FAILED
from seewhy.cli.screen import Screen

if TYPE_CHECKING:
    from seewhy.errors import Failure
    from seewhy.result import Result


def pictures_of(places: Sequence[str]) -> tuple[list[Any], list[Failure]]:
    """Return the pictures behind paths, folders and patterns; PictureError where there is none."""
    from seewhy.cli.work import described, find_sources
    from seewhy.errors import PictureError

    sources, failures = find_sources(places)
    if not sources:
        raise PictureError(described(failures[0]))
    return sources, failures


def save(found: Result, out: Path, make: Callable[[Path], Iterable[Path]]) -> list[Path]:
    """Save what was found into one file, where `out` has the ending of one, else as `make` does.

    make: saves into a folder, and returns what it wrote.
    """
    from seewhy.draw import FORMATS

    out = out.expanduser()
    if out.suffix.lower() in (*FORMATS, ".html", ".npz", ".json") and not out.is_dir():
        return [found.save(out)]
    return list(make(out))


def tell(
    screen: Screen,
    found: Any,
    files: Sequence[Path],
    left_out: Sequence[Failure] = (),
    *,
    json: bool,
    say: Callable[[], None] | None = None,
) -> None:
    """Print what was found, in words or as a JSON document, and what could not be read.

    say: prints it in words; None prints the result itself. Raises Exit where something was left
    out.
    """
    from seewhy.cli.work import as_json, described

    if json:
        screen.raw(as_json(found.plain() | {"files": [str(file) for file in files]}) + "\n")
    else:
        if say is None:
            for line in str(found).splitlines():
                screen.paragraph(line)
        else:
            say()
        for file in files:
            screen.line(f"saved: {file}")
    for failure in left_out:
        screen.error(f"left out: {described(failure)}", "warning")
    if left_out:
        raise typer.Exit(FAILED)
