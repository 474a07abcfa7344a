"""`seewhy demo`: what an explanation is worth, where the truth is known."""

from __future__ import annotations

from typing import Annotated

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen


@opt.examples("seewhy demo", "seewhy demo --count 100 --seed 1 --out elsewhere")
def demo(
    context: typer.Context,
    out: opt.Out = opt.OUT,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, help="How many pictures are measured.")
    ] = 24,
    seed: opt.Seed = 0,
) -> None:
    """Explain two models of which it is known what they look at, and see which maps tell.

    Saves a page to open in a browser, and a picture of some of it.
    """
    from seewhy.demo import demo as demonstrate

    screen: Screen = context.obj
    found = demonstrate(count, seed=seed, progress=screen.progress)
    for paragraph in found.introduction():
        screen.paragraph(paragraph)
        screen.line()
    screen.table(found.columns, found.rows(), right=found.columns[1:])
    screen.line()
    for paragraph in found.reading():
        screen.paragraph(paragraph)
    for name in ("demo.html", "demo.png"):
        screen.line(f"saved: {found.save(out.expanduser() / name)}")
