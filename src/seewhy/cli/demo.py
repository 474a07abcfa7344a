"""`seewhy demo`: explanations where the truth is known."""

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
        int, typer.Option("--count", metavar="N", min=1, help="How many pictures.")
    ] = 6,
    seed: opt.Seed = 0,
) -> None:
    """Explain pictures of which the truth is known, and see who finds it."""
    from seewhy import demo as recipe

    screen: Screen = context.obj
    found = recipe.demo(count, seed=seed, progress=screen.progress)
    for paragraph in found.introduction():
        screen.paragraph(paragraph)
        screen.line()
    screen.table(found.columns, found.rows(), right=found.columns[1:])
    file = found.save(out.expanduser() / "demo.png")
    screen.line()
    screen.paragraph(found.reading())
    screen.line(f"saved: {file}")
