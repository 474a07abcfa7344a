"""`seewhy concepts`: what a model finds in pictures, as a few concepts with a legend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen

MOST_ALONE = 16  # pictures of which each concept is drawn by itself


@opt.examples(
    "seewhy concepts photos/ --model torchvision/resnet50",
    "seewhy concepts cat.jpg -m torchvision/resnet50 --concepts 8 --layer layer3",
    "seewhy concepts photos/ -m torchvision/resnet50 --concepts 10 --out concepts.html",
    "seewhy concepts photos/ -m demo --concepts auto --meaning removal --json",
)
@opt.asks
def concepts(
    context: typer.Context,
    images: opt.Images,
    *,
    asked: opt.Asked,
    concepts: Annotated[
        str, typer.Option("--concepts", metavar="N", help="How many, or 'auto'.")
    ] = "5",
    layer: opt.Layer = None,
    meaning: Annotated[
        str,
        typer.Option(
            "--meaning",
            metavar="HOW",
            help="How a concept is asked what it speaks for: head, replay, removal, or auto.",
        ),
    ] = "auto",
    solver: Annotated[
        str, typer.Option("--solver", metavar="NAME", help="nmf, pca or k-means.")
    ] = "nmf",
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="Classes that are named of each.")
    ] = 2,
    out: opt.FolderOrFile = opt.OUT,
    json: opt.Json = False,
) -> None:
    """Find all that a layer sees in pictures, and what each of it speaks for.

    Saves a page to open in a browser, a panel with a legend, each concept alone, and what can be
    read back (.npz).
    """
    from seewhy import api
    from seewhy.cli.results import pictures_of, save, tell
    from seewhy.cli.work import Names

    screen: Screen = context.obj
    if concepts != "auto" and not concepts.isdecimal():
        raise typer.BadParameter(f"{concepts!r}: give a number, or auto", param_hint="--concepts")
    network = asked.load()
    sources, failures = pictures_of(images)
    how: dict[str, Any] = {"meaning": meaning, "solver": solver, **asked.how(screen)}
    count: Any = "auto" if concepts == "auto" else int(concepts)
    found = api.factorize(network, sources, count, layer=layer, top_k=top, **how)

    def everything(folder: Path) -> Iterator[Path]:
        names = Names()
        for ending in (".html", ".png", ".npz"):
            yield found.save(folder / f"concepts{ending}")
        for number, each in enumerate(found.shown[:MOST_ALONE]):
            name = names.next(each.source, "concepts")
            yield found.save(folder / f"{name}.png", view="concepts", picture=number)

    files = save(found, out, everything)
    tell(screen, found, files, (*failures, *found.failures), json=json)
