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
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every method there is, not some of each family: minutes."),
    ] = False,
    seed: opt.Seed = 0,
) -> None:
    """Explain two models of which it is known what they look at, and see which maps tell.

    Saves a page to open in a browser, and a picture of some of it.
    """
    from seewhy.demo import METHODS
    from seewhy.demo import demo as demonstrate
    from seewhy.methods import methods

    screen: Screen = context.obj
    asked = tuple(methods()) if everything else METHODS
    found = demonstrate(count, methods=asked, seed=seed, progress=screen.progress)
    for failure in found.found["object"].failures:
        screen.error(f"does not apply: {failure}", "warning")
    for paragraph in found.introduction():
        screen.paragraph(paragraph)
        screen.line()
    rows = found.brief_rows()
    screen.table(tuple(rows[0]), rows, right=tuple(rows[0])[1:])
    screen.line()
    screen.paragraph(
        "shape, sticker: how often a map of the object model points at the shape, of the shortcut "
        "model at the sticker. told apart: how often maps of the shortcut model lie more on the "
        "sticker; 0.5 is chance. gain: what the order of removal gains, 0 by chance. The page says "
        "more, and has every map."
    )
    for name in ("demo.html", "demo.png"):
        screen.line(f"saved: {found.save(out.expanduser() / name)}")
